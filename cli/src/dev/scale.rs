//! How many replicas a function has: KEDA and the HPA, as far as one function is concerned.

pub(crate) mod asks;
pub(crate) mod scaler;

pub(crate) mod keda;
