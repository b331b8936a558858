//! Secrets from environment variables.

use std::collections::HashMap;

use async_trait::async_trait;

use crate::{
    model::TenantId,
    ports::{SecretError, SecretValue, Secrets},
};

/// The secret `ssh_key` is the variable `OPSROOM_SECRET_SSH_KEY`.
///
/// The variables are given, not read: the environment is `cli::config`'s. They belong to the process,
/// so only the tenant of a single-tenant installation gets them.
#[derive(Clone)]
pub struct EnvSecrets {
    values: HashMap<String, SecretValue>,
}

impl EnvSecrets {
    pub const PREFIX: &str = "OPSROOM_SECRET_";

    /// Keeps those of `variables` that are secrets.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> EnvSecrets {
        let values = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with(EnvSecrets::PREFIX))
            .map(|(name, value)| (name, SecretValue::new(value)))
            .collect();
        EnvSecrets { values }
    }

    /// The variable that holds a secret.
    pub fn variable(name: &str) -> String {
        format!("{}{}", EnvSecrets::PREFIX, name.to_uppercase().replace('-', "_"))
    }
}

impl std::fmt::Debug for EnvSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvSecrets").field("secrets", &self.values.len()).finish()
    }
}

#[async_trait]
impl Secrets for EnvSecrets {
    async fn get(&self, tenant: TenantId, name: &str) -> Result<SecretValue, SecretError> {
        let variable = EnvSecrets::variable(name);
        let missing = |hint: String| SecretError::Missing { name: name.to_owned(), hint };
        if tenant != TenantId::DEFAULT {
            return Err(missing("secrets from the environment belong to the default tenant only".to_owned()));
        }
        match self.values.get(&variable) {
            // An empty value is a variable that was forgotten, and it could not be masked.
            Some(value) if value.expose().is_empty() => {
                Err(missing(format!("the environment variable {variable} is empty")))
            }
            Some(value) => Ok(value.clone()),
            None => Err(missing(format!("set the environment variable {variable} where opsroom runs"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn provider() -> EnvSecrets {
        EnvSecrets::new(
            [("OPSROOM_SECRET_SSH_KEY", "k"), ("OPSROOM_SECRET_EMPTY", ""), ("SSH_KEY", "not this")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        )
    }

    #[tokio::test]
    async fn names_become_variables() {
        let value = provider().get(TenantId::DEFAULT, "ssh_key").await.unwrap();
        assert_eq!(value.expose(), "k");
        assert_eq!(EnvSecrets::variable("pager-key"), "OPSROOM_SECRET_PAGER_KEY");
    }

    #[tokio::test]
    async fn a_missing_one_says_what_to_set() {
        let error = provider().get(TenantId::DEFAULT, "token").await.unwrap_err();
        assert!(error.to_string().contains("OPSROOM_SECRET_TOKEN"), "{error}");
        let error = provider().get(TenantId::DEFAULT, "empty").await.unwrap_err();
        assert!(error.to_string().contains("is empty"), "{error}");
    }

    #[tokio::test]
    async fn other_tenants_get_nothing() {
        let other = TenantId(Uuid::from_u128(2));
        assert!(provider().get(other, "ssh_key").await.is_err());
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", provider()), "EnvSecrets { secrets: 2 }");
    }
}
