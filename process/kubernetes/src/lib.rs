//! Watches and leader election over the Kubernetes API, once for every process.
