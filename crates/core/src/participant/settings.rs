//! What the workspace has switched on (protocol §9.3).

use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::host::Failure;
use super::store::parse;
use crate::error::Code;

/// How long the settings are relied on, in milliseconds. While encryption is off, each round asks.
const FRESH: u64 = 5 * 60_000;
const WANTED: [&str; 5] = [
    "E2E_Enable",
    "E2E_Enable_Encrypt_Files",
    "E2E_Enabled_Mentions",
    "Message_QuoteChainLimit",
    "Site_Url",
];

/// The settings that matter. What a server does not tell is taken as on.
pub(super) struct Settings {
    pub(super) enabled: bool,
    pub(super) files: bool,
    pub(super) mentions: bool,
    /// How deep quotes of quotes are resolved.
    pub(super) quote_depth: u64,
    /// Where links to messages lead; empty where it is not known.
    pub(super) site_url: String,
    read: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            files: true,
            mentions: true,
            quote_depth: 2,
            site_url: String::new(),
            read: None,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    settings: Vec<Setting>,
}

#[derive(Deserialize)]
struct Setting {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    value: Value,
}

impl Shared {
    /// Whether the workspace has end-to-end encryption switched on, as was last read.
    pub(super) fn enabled(&self) -> bool {
        self.state().settings.enabled
    }

    /// Reads the settings where that was not done for a while. What cannot be read stays as it
    /// was. That encryption is off is told once. Returns whether it is on.
    pub(super) async fn check_settings(&self) -> bool {
        let now = self.host.now();
        let before = {
            let state = self.state();
            let fresh = |at: u64| state.settings.enabled && now.saturating_sub(at) < FRESH;
            if state.settings.read.is_some_and(fresh) {
                return true;
            }
            state.settings.enabled
        };
        let query = json!({ "_id": WANTED.join(","), "count": WANTED.len().to_string() });
        let read = self.host.get("settings.public", query).await.and_then(parse::<Answer>);
        if let Ok(Answer { settings }) = read {
            let find = |id: &str| settings.iter().find(|s| s.id == id).map(|s| &s.value);
            let on = |id: &str| find(id).and_then(Value::as_bool).unwrap_or(true);
            self.state().settings = Settings {
                enabled: on("E2E_Enable"),
                files: on("E2E_Enable_Encrypt_Files"),
                mentions: on("E2E_Enabled_Mentions"),
                quote_depth: find("Message_QuoteChainLimit").and_then(Value::as_u64).unwrap_or(2),
                site_url: find("Site_Url").and_then(Value::as_str).unwrap_or_default().to_owned(),
                read: Some(now),
            };
        }
        let enabled = self.enabled();
        if before && !enabled {
            self.trouble("", &disabled());
        }
        enabled
    }
}

/// Why nothing happens for now.
pub(super) fn disabled() -> Failure {
    let message = "the workspace has end-to-end encryption switched off (E2E_Enable)";
    Failure::new(Code::Disabled, message)
}
