//! The audit trail: what was read, sent, given and to whom; never content.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use rand_core::Rng;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::host::Result;

/// Lines are read in pieces: their names begin with the time, and stores read by prefix. 10^8
/// milliseconds are about 28 hours.
const PIECE: u32 = 8;
/// The same for the last 28 hours, and for short ranges: 10^6 milliseconds are about 17 minutes.
const SMALL_PIECE: u32 = 6;
/// Up to here a range is short: 10^9 milliseconds, about 12 days.
const SHORT: u64 = 1_000_000_000;
/// Digits of the time in a line's name.
const DIGITS: u32 = 15;
/// 2026, when this library first wrote such lines: what clocks set wrong date otherwise is read in
/// larger pieces.
const BEGINNING: u64 = 1_767_225_600_000;

/// Which lines of the audit trail are wanted; all, unless told otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct AuditFilter {
    /// Lines about this room.
    pub room_id: Option<String>,
    /// Lines of this action.
    pub action: Option<String>,
    /// Lines about this user.
    pub user_id: Option<String>,
    /// Lines from this time on, in milliseconds since 1970.
    pub since: Option<u64>,
    /// Lines up to this time.
    pub until: Option<u64>,
    /// The newest of them, at most so many.
    pub limit: Option<usize>,
}

impl AuditFilter {
    fn times(&self) -> RangeInclusive<u64> {
        self.since.unwrap_or(0)..=self.until.unwrap_or(u64::MAX)
    }

    fn fits(&self, line: &Value) -> bool {
        let text = |pointer, wanted: &Option<String>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| line.pointer(pointer).and_then(Value::as_str) == Some(wanted))
        };
        text("/details/roomId", &self.room_id)
            && text("/details/userId", &self.user_id)
            && text("/action", &self.action)
            && line.get("ts").and_then(Value::as_u64).is_some_and(|ts| self.times().contains(&ts))
    }
}

impl Shared {
    /// A line of the audit trail: who did what with which room, never content.
    pub(super) async fn audit(&self, action: &str, details: Value) -> Result<()> {
        let line = self.audit_line(action, details);
        self.append(&[line], Vec::new()).await
    }

    /// The same, to be written together with others: name and JSON text.
    pub(super) fn audit_line(&self, action: &str, details: Value) -> (String, Vec<u8>) {
        let mut salt = [0; 8];
        self.rng().fill_bytes(&mut salt);
        let now = self.host.now();
        let count = {
            let mut state = self.state();
            state.audited = state.audited.wrapping_add(1);
            state.audited
        };
        // Names sort by time, then as the lines were made; no two processes choose the same one.
        let name = format!("audit/{now:015}-{count:08x}{}", hex::encode(salt));
        let line = json!({
            "ts": now, "appId": self.options.app_id, "action": action, "details": details,
        });
        (name, line.to_string().into_bytes())
    }

    /// The lines that fit, oldest first. Only what fits is held, and one piece beside it.
    pub(super) async fn audit_trail(&self, filter: &AuditFilter) -> Result<Value> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut found = VecDeque::new();
        for prefix in pieces(&filter.times(), self.host.now()).iter().rev() {
            if found.len() >= limit {
                break;
            }
            let mut lines = self.read::<Value>(&format!("audit/{prefix}")).await?;
            lines.sort_by(|(a, _), (b, _)| b.cmp(a));
            let fitting = lines.into_iter().map(|(_, line)| line).filter(|line| filter.fits(line));
            for line in fitting.take(limit - found.len()) {
                found.push_front(line);
            }
        }
        Ok(found.into_iter().collect())
    }
}

/// Prefixes that together cover all times of the range, in order; fine where lines are expected.
fn pieces(times: &RangeInclusive<u64>, now: u64) -> Vec<String> {
    let mut pieces = Vec::new();
    let short = times.end().saturating_sub(*times.start()) <= SHORT;
    let recent = if short { BEGINNING } else { now.saturating_sub(10_u64.pow(PIECE)) };
    let fine = [(BEGINNING..=now, PIECE), (recent..=now, SMALL_PIECE)];
    if !times.is_empty() {
        split(0, DIGITS, times, &fine, &mut pieces);
    }
    pieces
}

/// Covers the times whose first digits are `first`, all but `rest` of them.
fn split(
    first: u64,
    rest: u32,
    times: &RangeInclusive<u64>,
    fine: &[(RangeInclusive<u64>, u32)],
    pieces: &mut Vec<String>,
) {
    let size = 10_u64.pow(rest);
    let (begin, end) = (first * size, (first + 1) * size - 1);
    let meets = |range: &RangeInclusive<u64>| *range.start() <= end && begin <= *range.end();
    if !meets(times) {
        return;
    }
    if fine.iter().any(|(range, piece)| rest > *piece && meets(range)) {
        for digit in 0..10 {
            split(first * 10 + digit, rest - 1, times, fine, pieces);
        }
        return;
    }
    let width = usize::try_from(DIGITS - rest).unwrap_or_default();
    pieces.push(match width {
        0 => String::new(),
        width => format!("{first:0width$}"),
    });
}

#[cfg(test)]
mod tests;
