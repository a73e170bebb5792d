//! The assistant's settings of a cluster.

use std::sync::Arc;

use kipper_client::{
    ApiError, Connection,
    assistant::{AssistantSecret, SECRET},
    rights,
};

use crate::{
    Problem,
    assistant::{Mounted, Setup, Stored},
    backend::Result,
};

/// Where they come from.
#[derive(Clone, Default)]
pub enum Place {
    /// The Secret, read with the rights of the user.
    #[default]
    Secret,
    /// The Secret, as it is mounted into the console's pod.
    Mounted {
        /// Its file.
        file: Arc<Mounted>,
        /// Whether endpoints in private networks are called.
        allow_private: bool,
    },
    /// Flags of the user, on whose machine everything runs.
    Flags(Stored),
}

pub(super) async fn read(place: &Place, connection: &Connection, system: &str) -> Result<Setup> {
    match place {
        Place::Flags(stored) => {
            let fixed = "the assistant is set up by flags and KIPPER_AI_* here".to_owned();
            Ok(Setup { stored: Some(stored.clone()), fixed: Some(fixed), allow_private: true })
        }
        Place::Mounted { file, allow_private } => {
            let fixed = fixed(connection, system).await?;
            Ok(Setup { stored: file.read()?, fixed, allow_private: *allow_private })
        }
        Place::Secret => match AssistantSecret::new(connection, system).read().await {
            Ok(text) => {
                let stored = text.map(|text| Stored::read(&text)).transpose()?;
                let fixed = fixed(connection, system).await?;
                Ok(Setup { stored, fixed, allow_private: true })
            }
            Err(ApiError::Forbidden(_)) => {
                let why = format!(
                    "you may not read the Secret {SECRET} in namespace {system}; set a provider of \
                     your own with --ai-provider, --ai-url and --ai-model"
                );
                Ok(Setup { stored: None, fixed: Some(why), allow_private: true })
            }
            Err(error) => Err(error.into()),
        },
    }
}

/// Why the user cannot change them.
async fn fixed(connection: &Connection, system: &str) -> Result<Option<String>> {
    let is_allowed = rights::may_patch_secret(connection, system, SECRET).await?;
    let why = || {
        format!(
            "only who may patch the Secret {SECRET} in namespace {system} sets the assistant up"
        )
    };
    Ok((!is_allowed).then(why))
}

pub(super) async fn write(
    place: &Place,
    connection: &Connection,
    system: &str,
    stored: Option<&Stored>,
) -> Result<()> {
    if let Place::Flags(_) = place {
        return Err(Problem::new(crate::Reason::Unsupported, "flags cannot be changed"));
    }
    let secret = AssistantSecret::new(connection, system);
    match stored {
        Some(stored) => secret.write(stored.text()).await?,
        None => secret.remove().await?,
    }
    if let Place::Mounted { file, .. } = place {
        file.note(stored.cloned());
    }
    Ok(())
}
