//! `NAME=VALUE` of an environment variable, as every command takes it. Pure.

use kipper_function::env_name;

/// The name, which a function may set, and the value.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((checked(name)?, value.to_owned()))
}

/// The name of a variable that a function may set.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn checked(name: &str) -> Result<String, String> {
    env_name::check(name).map_err(|error| format!("the name {error}"))?;
    Ok(name.to_owned())
}
