//! Which records varnishd writes to its shared log: those that someone reads. Pure.
//!
//! Every tag is named with its sign, since releases differ in which words stand for several (`default`, `all`), and in
//! whether those may stand in a list.

use std::collections::BTreeSet;

/// Names of log tags, as in [`QUIET`] and [`OFF`].
pub type Tags = BTreeSet<&'static str>;

/// The tags that every request writes. That is a fifth of a hit's CPU time, so they are masked as long as nobody
/// reads them. Errors stay in the log, and so does what holds a transaction together.
const QUIET: &[&str] = &[
    "ReqStart",
    "ReqMethod",
    "ReqURL",
    "ReqProtocol",
    "ReqHeader",
    "ReqUnset",
    "ReqAcct",
    "RespProtocol",
    "RespStatus",
    "RespReason",
    "RespHeader",
    "RespUnset",
    "BereqMethod",
    "BereqURL",
    "BereqProtocol",
    "BereqHeader",
    "BereqUnset",
    "BereqAcct",
    "BerespProtocol",
    "BerespStatus",
    "BerespReason",
    "BerespHeader",
    "BerespUnset",
    "ObjProtocol",
    "ObjStatus",
    "ObjReason",
    "ObjHeader",
    "VCL_Log",
    "VCL_call",
    "VCL_return",
    "VCL_use",
    "Timestamp",
    "Hit",
    "HitMiss",
    "HitPass",
    "TTL",
    "Storage",
    "Fetch_Body",
    "Length",
    "Filters",
    "Gzip",
    "PipeAcct",
    "BackendOpen",
    "BackendClose",
];

/// The other tags that Varnish masks by itself, in all releases that Copal runs on.
const OFF: &[&str] = &[
    "Debug",
    "VCL_trace",
    "ExpKill",
    "WorkThread",
    "Hash",
    "VfpAcct",
    "H2RxHdr",
    "H2RxBody",
    "H2TxHdr",
    "H2TxBody",
    "VdpAcct",
];

/// The tags of ours that a word names, as varnishncsa and VSL queries understand it: a tag or its beginning, in any
/// case, or a pattern with `*` at its begin or end. None for a word that is about something else, or about a tag
/// that is never masked.
pub fn named(word: &str) -> impl Iterator<Item = &'static str> {
    let word = word.to_ascii_lowercase();
    QUIET.iter().chain(OFF).copied().filter(move |tag| {
        let tag = tag.to_ascii_lowercase();
        match word.strip_prefix('*') {
            Some(end) => tag.ends_with(end),
            None => !word.is_empty() && tag.starts_with(word.trim_end_matches('*')),
        }
    })
}

/// The value of the parameter `vsl_mask` where `read` is read. `user` is what the user set it to; that stays in
/// force. `None` leaves the parameter to the user altogether, who has used a word for several tags.
#[must_use]
pub fn value(read: &Tags, user: Option<&str>) -> Option<String> {
    let own =
        QUIET.iter().chain(OFF).map(|tag| format!("{}{tag}", if read.contains(tag) { '+' } else { '-' }));
    let user: Vec<&str> = user.into_iter().flat_map(|it| it.split(',')).map(str::trim).collect();
    let is_list = user.iter().all(|entry| entry.starts_with(['+', '-']));
    is_list.then(|| own.chain(user.into_iter().map(str::to_owned)).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_unmasked_and_all_else_is_not() {
        let mask = value(&Tags::from(["ReqURL", "Hash"]), None).unwrap();
        let entries: Vec<&str> = mask.split(',').collect();
        assert_eq!(entries.len(), QUIET.len() + OFF.len());
        assert!(entries.contains(&"+ReqURL") && entries.contains(&"+Hash") && entries.contains(&"-VCL_Log"));
        assert_eq!(entries.iter().filter(|entry| entry.starts_with('+')).count(), 2);
    }

    #[test]
    fn the_users_mask_comes_last_or_stands_alone() {
        assert!(value(&Tags::new(), Some("+Hash,-Link")).unwrap().ends_with(",+Hash,-Link"));
        assert_eq!(value(&Tags::new(), Some("default")), None);
        assert_eq!(value(&Tags::new(), Some("all,-Hash")), None);
    }

    #[test]
    fn words_name_tags() {
        for (word, tags) in [
            ("ReqURL", &["ReqURL"][..]),
            ("requ", &["ReqURL", "ReqUnset"]),
            ("Resp*", &["RespProtocol", "RespStatus", "RespReason", "RespHeader", "RespUnset"]),
            ("*Acct", &["ReqAcct", "BereqAcct", "PipeAcct", "VfpAcct", "VdpAcct"]),
            ("Link", &[]),
            ("and", &[]),
            ("not", &[]),
            ("or", &[]),
            ("eq", &[]),
            ("", &[]),
        ] {
            assert_eq!(named(word).collect::<Vec<_>>(), tags, "{word}");
        }
        assert_eq!(named("*").count(), QUIET.len() + OFF.len());
    }
}
