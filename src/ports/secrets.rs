//! Secrets: looked up by name, given to the steps that list them, masked everywhere else.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::model::TenantId;

/// A secret's value. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<str>);

impl SecretValue {
    pub fn new(value: impl Into<Arc<str>>) -> SecretValue {
        SecretValue(value.into())
    }

    /// The value itself. Call it only where it is handed to the step.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(***)")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The provider has no such secret; `hint` says where it looked.
    #[error("secret `{name}` is not set: {hint}")]
    Missing { name: String, hint: String },
    #[error("secret `{name}` could not be read: {why}")]
    Unavailable { name: String, why: String },
}

/// Looks secrets up.
#[async_trait]
pub trait Secrets: Send + Sync {
    async fn get(&self, tenant: TenantId, name: &str) -> Result<SecretValue, SecretError>;
}

/// Makes masks.
pub trait Masks: Send + Sync {
    /// A mask for these values; without values it changes nothing and costs next to nothing.
    fn mask(&self, values: &[SecretValue]) -> Arc<dyn Mask>;
}

/// Replaces secret values by `***` in everything that leaves the worker.
pub trait Mask: Send + Sync {
    /// A whole text.
    fn text(&self, text: &str) -> String;

    /// Every string (keys too) in a JSON value.
    fn json(&self, value: &mut serde_json::Value);

    /// For bytes that come in pieces: a value split over two chunks is found too.
    fn stream(&self) -> Box<dyn MaskStream>;
}

/// The state of masking one stream of bytes.
pub trait MaskStream: Send {
    /// Masks what is certain so far; holds back at most the length of the longest secret.
    fn push(&mut self, bytes: &[u8]) -> Vec<u8>;

    /// What was held back.
    fn finish(&mut self) -> Vec<u8>;
}
