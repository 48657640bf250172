//! What recipients and identities need of the world: plugin programs, and somebody to ask.

use age::cli_common::UiCallbacks;
use age::plugin::{IdentityPluginV1, RecipientPluginV1};

use crate::seal::identity::{BoxedIdentity, Helper};
use crate::seal::recipient::BoxedRecipient;

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The program is not there.
    #[error("recipient {text} needs the program age-plugin-{plugin}: install it and put it in PATH")]
    Missing {
        /// Name of the plugin.
        plugin: String,
        /// The recipient.
        text: String,
    },
    /// The recipient is not one of that plugin.
    #[error("recipient {text} is not one that age-plugin-{plugin} takes")]
    Recipient {
        /// Name of the plugin.
        plugin: String,
        /// The recipient.
        text: String,
    },
}

/// Makes the recipient that `text` names, of the plugin `plugin`.
pub(super) fn recipient(plugin: &str, text: &str) -> Result<BoxedRecipient, PluginError> {
    let failed = || PluginError::Recipient { plugin: plugin.into(), text: text.into() };
    let recipient: age::plugin::Recipient = text.parse().map_err(|_| failed())?;
    RecipientPluginV1::new(plugin, &[recipient], &[], UiCallbacks)
        .map(|recipient| Box::new(recipient) as BoxedRecipient)
        .map_err(|_| PluginError::Missing { plugin: plugin.into(), text: text.into() })
}

/// Runs plugins, and asks for passphrases at the terminal.
pub(in crate::shell) struct Terminal;

impl Helper for Terminal {
    fn plugin(&mut self, plugin: &str, text: &str) -> Option<BoxedIdentity> {
        let identity: age::plugin::Identity = text.parse().ok()?;
        let identity = IdentityPluginV1::new(plugin, &[identity], UiCallbacks).ok()?;
        Some(Box::new(identity))
    }

    fn unlock_ssh(&mut self, key: age::ssh::Identity) -> Option<BoxedIdentity> {
        Some(Box::new(key.with_callbacks(UiCallbacks)))
    }
}
