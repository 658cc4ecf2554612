//! Laying a decrypted payload over its message document (protocol §5.5, §6).

use std::collections::BTreeSet;

use super::MessageContent;
use crate::ejson::{Object, Value};

/// Puts `msg`, `attachments`, `files` and `file` of the payload into the document, and nothing
/// else: who sent a message, when and where is the server's to say.
///
/// An attachment that the server marked `removed-file` stays as the server has it, and the
/// payload's description of that file is dropped: a deleted file must not come back.
pub fn overlay(document: &mut Object, content: MessageContent) {
    document.insert("msg".to_owned(), Value::String(content.msg));

    let removed: Vec<(usize, Value)> = document
        .get("attachments")
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .enumerate()
        .filter(|(_, attachment)| text(attachment, "type") == Some("removed-file"))
        .map(|(index, attachment)| (index, attachment.clone()))
        .collect();
    let mut gone = BTreeSet::new();
    if let Some(mut attachments) = content.attachments {
        for (index, server) in removed {
            match attachments.get_mut(index) {
                Some(attachment) => {
                    gone.extend(text(attachment, "fileId").map(str::to_owned));
                    *attachment = server;
                }
                None => attachments.push(server),
            }
        }
        document.insert("attachments".to_owned(), Value::Array(attachments));
    }
    let is_gone = |file: &Value| text(file, "_id").is_some_and(|id| gone.contains(id));
    if let Some(mut files) = content.files {
        files.retain(|file| !is_gone(file));
        document.insert("files".to_owned(), Value::Array(files));
    }
    if let Some(file) = content.file.filter(|file| !is_gone(file)) {
        document.insert("file".to_owned(), file);
    }
}

fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.as_object()?.get(member)?.as_str()
}
