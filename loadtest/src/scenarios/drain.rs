//! x
pub(super) async fn run(_run: &mut crate::run::Run) -> Result<(), anyhow::Error> { anyhow::bail!("x") }
