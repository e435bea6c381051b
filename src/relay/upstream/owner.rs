//! Whose the sockets are. As root, varnishd gives its worker, which connects to them, another user.

use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

/// The worker's user in varnishd's default jail for root (varnishd(1), `-j unix`).
const WORKER: &str = "vcache";

/// Gives a file to varnishd's worker, if that has another user than we.
///
/// # Errors
/// When the system does not let us.
pub fn hand_over(path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    match user(&users, WORKER) {
        Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}

/// Numbers of user and group, from lines as in passwd(5).
fn user(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2).map_while(|field| field.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::user;

    #[test]
    fn users_are_found_by_name() {
        let users = "root:x:0:0::/root:/bin/sh\nvcache2:x:1:2::/:\nvcache:x:103:105::/nonexistent:/x\n";
        assert_eq!(user(users, "vcache"), Some((103, 105)));
        assert_eq!((user(users, "varnish"), user("vcache:x", "vcache")), (None, None));
    }
}
