//! How many messages a key has encrypted: random nonces of 96 bits allow 2^32 (design §7).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Shared;
use super::host::{Failure, Result};
use crate::error::Code;
use crate::room_key::RoomKey;

/// Messages that are counted in the store at once, before the first of them is encrypted.
pub(super) const BLOCK: u64 = 1024;
/// From here on the application is warned, at each start and once: a quarter of the limit, since
/// what other members encrypt under the key is not counted here.
pub(super) const WARNING: u64 = 1 << 30;
/// From here on nothing is encrypted under the key any more.
pub(super) const LIMIT: u64 = 1 << 32;

/// What is kept of a key: `budget/<room>/<key id>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Messages that were encrypted, here or in other processes of the store, or may yet be.
    pub(super) counted: u64,
}

/// A key's count in this process.
#[derive(Default)]
pub(super) struct Budget {
    counted: u64,
    /// How many of those may be encrypted here without counting anew.
    left: u64,
    warned: bool,
}

impl Shared {
    pub(super) async fn load_budgets(&self) -> Result<()> {
        let records = self.load::<Record>("budget/").await?;
        let mut state = self.state();
        for (name, record) in records {
            if let Some(key) = name.strip_prefix("budget/") {
                state.budgets.entry(key.to_owned()).or_default().counted = record.counted;
            }
        }
        Ok(())
    }

    /// Counts a message before it is encrypted. Blocks are counted in the store, so that neither a
    /// kill nor a second process lets a key exceed its limit.
    pub(super) async fn spend(self: &Arc<Self>, id: &str, key: &RoomKey) -> Result<()> {
        let name = name(id, key.id().as_str());
        if self.spend_here(&name) {
            return Ok(());
        }
        self.alone(format!("budget/{name}"), async {
            if self.spend_here(&name) {
                return Ok(());
            }
            let known = self.state().budgets.get(&name).map_or(0, |budget| budget.counted);
            if known >= LIMIT {
                return Err(Failure::new(
                    Code::KeyBudget,
                    "the room's key has encrypted 2^32 messages: reset it",
                ));
            }
            let ours = Record { counted: known.saturating_add(BLOCK) };
            let record = self
                .write(&format!("budget/{name}"), ours, |theirs: Record, _| Record {
                    counted: theirs.counted.saturating_add(BLOCK),
                })
                .await?;
            let warn = {
                let mut state = self.state();
                let budget = state.budgets.entry(name.clone()).or_default();
                budget.counted = record.counted;
                budget.left = BLOCK - 1;
                record.counted >= WARNING && !std::mem::replace(&mut budget.warned, true)
            };
            if warn {
                let key_id = key.id().as_str();
                let messages = record.counted;
                self.host.emit(
                    "keyBudget",
                    json!({ "roomId": id, "keyId": key_id, "messages": messages, "limit": LIMIT }),
                );
            }
            Ok(())
        })
        .await
    }

    fn spend_here(&self, name: &str) -> bool {
        let mut state = self.state();
        let Some(budget) = state.budgets.get_mut(name) else { return false };
        let left = budget.left.checked_sub(1);
        budget.left = left.unwrap_or_default();
        left.is_some()
    }
}

/// Messages that were encrypted under a key, by all processes of the store; blocks that others
/// have begun, or a kill cut short, count in full.
pub(super) fn spent(state: &super::State, id: &str, key_id: &str) -> u64 {
    state.budgets.get(&name(id, key_id)).map_or(0, |budget| budget.counted - budget.left)
}

fn name(id: &str, key_id: &str) -> String {
    format!("{id}/{key_id}")
}

#[cfg(test)]
mod tests;
