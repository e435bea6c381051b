//! The user's own arguments for varnishd, taken apart and checked. Pure.

use std::ffi::OsString;

use super::args::ArgsError;

/// Below this many seconds `timeout_idle` means "draining" to every generated VCL.
pub(super) const LEAST_TIMEOUT_IDLE: f64 = 2.0;
/// Options that varnishd cannot have from anyone but us.
const OURS: &str = "CFMSVbdfnx";
/// varnishd's options that take a value.
const WITH_VALUE: &str = "EIMPSTWabfhijlnprstx";

/// What the user's arguments set a parameter to; of several the last counts.
#[must_use]
pub fn parameter(user: &[OsString], name: &str) -> Option<String> {
    let options = options(user).ok()?.into_iter().rev();
    options.filter(|(option, _)| *option == 'p').find_map(|(_, value)| {
        let (found, value) = value.split_once('=')?;
        (found == name).then(|| value.to_owned())
    })
}

/// Takes arguments apart as getopt(3) does: `-pa=b`, `-p a=b`, and flags written together.
pub(super) fn options(arguments: &[OsString]) -> Result<Vec<(char, String)>, ArgsError> {
    let mut found = Vec::new();
    let mut rest = arguments.iter().map(|argument| argument.to_string_lossy());
    while let Some(argument) = rest.next() {
        let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            return Err(ArgsError::NotAnOption(argument.into_owned()));
        };
        let mut letters = letters.chars();
        while let Some(option) = letters.next() {
            if WITH_VALUE.contains(option) {
                let attached = letters.as_str();
                let value =
                    if attached.is_empty() { rest.next().unwrap_or_default() } else { attached.into() };
                found.push((option, value.into_owned()));
                break;
            }
            found.push((option, String::new()));
        }
    }
    Ok(found)
}

/// Refuses what would take varnishd out of our hands.
pub(super) fn check(user: &[(char, String)]) -> Result<(), ArgsError> {
    for (option, value) in user {
        match (option, value.split_once('=')) {
            (reserved, _) if OURS.contains(*reserved) => return Err(ArgsError::Reserved(*reserved)),
            ('p', Some(("timeout_idle", idle))) if seconds(idle) < LEAST_TIMEOUT_IDLE => {
                return Err(ArgsError::TimeoutIdle(idle.to_owned()));
            }
            ('r', _) if value.split(',').any(|name| name.trim() == "timeout_idle") => {
                return Err(ArgsError::ReadOnly(value.clone()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A duration as varnishd takes it, or zero if it is none.
fn seconds(text: &str) -> f64 {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit {
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => 1.0,
    };
    number.trim().parse::<f64>().unwrap_or(0.0) * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(arguments: &[&str]) -> Result<(), ArgsError> {
        let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
        options(&arguments).and_then(|options| check(&options))
    }

    #[test]
    fn arguments_that_would_take_varnishd_away_are_refused() {
        for (arguments, expected) in [
            (&["-n", "/x"][..], ArgsError::Reserved('n')),
            (&["-d"], ArgsError::Reserved('d')),
            (&["-Ff", "x.vcl"], ArgsError::Reserved('F')),
            (&["extra"], ArgsError::NotAnOption("extra".into())),
            (&["-p", "timeout_idle=1"], ArgsError::TimeoutIdle("1".into())),
            (&["-ptimeout_idle=1500ms"], ArgsError::TimeoutIdle("1500ms".into())),
            (&["-r", "vcl_path,timeout_idle"], ArgsError::ReadOnly("vcl_path,timeout_idle".into())),
        ] {
            assert_eq!(checked(arguments), Err(expected), "{arguments:?}");
        }
        for fine in
            [&["-p", "timeout_idle=5"][..], &["-ptimeout_idle=1m"], &["-T", "127.0.0.1:6082"], &["-s", "-n"]]
        {
            assert_eq!(checked(fine), Ok(()), "{fine:?}");
        }
    }

    #[test]
    fn the_users_last_word_on_a_parameter_counts() {
        let arguments = ["-p", "vsl_mask=+Hash", "-pvsl_mask=-Link,+Debug", "-p", "other=1"];
        let user = arguments.map(OsString::from);
        assert_eq!(parameter(&user, "vsl_mask").as_deref(), Some("-Link,+Debug"));
        assert_eq!(parameter(&user, "nothing"), None);
    }
}
