//! Quotes: messages that others refer to by a link (protocol §6).

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Shared;
use super::host::Result;
use super::messages::{is_encrypted, text};

/// Messages that are fetched for one, at most.
const MAX_QUOTES: usize = 20;
/// How deep quotes are followed at most, whatever the workspace says.
const MAX_DEPTH: u64 = 10;

/// What one call has fetched.
struct Search {
    /// The messages on the way to the present one, and those that were fetched already.
    seen: BTreeSet<String>,
    left: usize,
}

type Found<'a> = Pin<Box<dyn Future<Output = Result<Vec<Value>>> + Send + 'a>>;

impl Shared {
    /// The messages that a decrypted message quotes, as attachments.
    pub(super) async fn resolve_quotes(self: &Arc<Self>, document: &Value) -> Result<Value> {
        self.identity()?;
        self.expect_authorized(text(document, "rid").unwrap_or_default())?;
        self.check_settings().await;
        let depth = self.state().settings.quote_depth.min(MAX_DEPTH);
        let own = text(document, "_id").unwrap_or_default().to_owned();
        let mut search = Search { seen: BTreeSet::from([own]), left: MAX_QUOTES };
        Ok(self.quotes_of(document, depth, &mut search).await?.into())
    }

    fn quotes_of<'a>(
        self: &'a Arc<Self>,
        document: &'a Value,
        depth: u64,
        search: &'a mut Search,
    ) -> Found<'a> {
        Box::pin(async move {
            let mut quotes = Vec::new();
            if depth == 0 {
                return Ok(quotes);
            }
            let site = self.state().settings.site_url.clone();
            for link in links(document) {
                let Some(message_id) = quoted_id(link, &site) else { continue };
                if search.left == 0 || !search.seen.insert(message_id.to_owned()) {
                    continue;
                }
                search.left -= 1;
                if let Some(quoted) = self.fetch_quoted(message_id).await? {
                    let nested = self.quotes_of(&quoted, depth - 1, search).await?;
                    quotes.push(attachment(link, &quoted, nested));
                }
            }
            Ok(quotes)
        })
    }

    /// A message of an authorised room in clear; `None` where it is gone, foreign or not to be
    /// read. An error where the server gives no answer now.
    async fn fetch_quoted(&self, message_id: &str) -> Result<Option<Value>> {
        let body = match self.host.get("chat.getMessage", json!({ "msgId": message_id })).await {
            Ok(body) => body,
            Err(failure) if !failure.is_refusal() => return Err(failure),
            Err(_) => return Ok(None),
        };
        let Some(message) = body.get("message").filter(|m| text(m, "_id") == Some(message_id))
        else {
            return Ok(None);
        };
        let room_id = text(message, "rid").unwrap_or_default();
        if self.expect_authorized(room_id).is_err() {
            return Ok(None);
        }
        if !is_encrypted(message) {
            return Ok(Some(message.clone()));
        }
        let Ok(mut decrypted) = self.decrypt(message) else { return Ok(None) };
        let details = json!({ "roomId": room_id, "messageId": message_id });
        self.audit("read", details).await?;
        Ok(decrypted.get_mut("document").map(Value::take))
    }
}

/// Links with an empty label at the beginning of the text, and those of attachments.
fn links(document: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text(document, "msg").unwrap_or_default().trim_start();
    while let Some((label, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once("](")) {
        let Some((link, after)) = after.split_once(')') else { break };
        if !label.trim().is_empty() {
            break;
        }
        found.push(link);
        rest = after.trim_start();
    }
    let attachments = document.get("attachments").and_then(Value::as_array);
    let linked = attachments.into_iter().flatten().filter_map(|a| text(a, "message_link"));
    found.extend(linked);
    found
}

/// The message that a link of this site leads to.
fn quoted_id<'a>(link: &'a str, site: &str) -> Option<&'a str> {
    let site = site.trim_end_matches('/');
    if !site.is_empty() && !link.strip_prefix(site)?.starts_with('/') {
        return None;
    }
    let (_, query) = link.split_once('?')?;
    let query = query.split('#').next()?;
    let id = query.split('&').find_map(|pair| pair.strip_prefix("msg="))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    ((1..=256).contains(&id.len()) && id.chars().all(plain)).then_some(id)
}

/// As Rocket.Chat's clients show it. What the quoted message quotes stands before its own
/// attachments.
fn attachment(link: &str, quoted: &Value, nested: Vec<Value>) -> Value {
    let username = quoted.pointer("/u/username").and_then(Value::as_str).unwrap_or_default();
    let resolved = |attachment: &&Value| {
        let link = text(attachment, "message_link");
        !nested.iter().any(|quote| link.is_some() && text(quote, "message_link") == link)
    };
    let own = quoted.get("attachments").and_then(Value::as_array).into_iter().flatten();
    let own: Vec<Value> = own.filter(resolved).cloned().collect();
    json!({
        "message_link": link,
        "author_name": username,
        "author_icon": format!("/avatar/{username}"),
        "text": text(quoted, "msg").unwrap_or_default(),
        "ts": quoted.get("ts"),
        "attachments": nested.into_iter().chain(own).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
