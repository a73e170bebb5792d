//! What benches and load tests measure with: load, processes, figures and their limits.
