//! A sandbox on the local cluster for tests and load tests.
