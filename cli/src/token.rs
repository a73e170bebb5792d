//! Secrets that nobody can guess.

/// 128 random bits, in hexadecimal.
///
/// # Errors
/// When this machine has no random numbers.
pub(crate) fn random() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| anyhow::anyhow!("this machine has no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
