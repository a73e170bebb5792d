//! What is told of requests: the access log on the stdout of a real process, and traces to a real
//! OTLP receiver.

mod access_log;
mod collector;
mod traces;
