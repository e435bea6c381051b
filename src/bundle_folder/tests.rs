//! What is written, and what is refused when it is read.

use std::fs;

use super::*;
use crate::bundle::relay::{Certificate, TlsListener, certificate_id};

fn bundle(shard: &str) -> Bundle {
    let listen = vec![ListenSocket { name: "http-80".into(), port: 80 }];
    let shards = BTreeMap::from([("copal_s01".to_owned(), VclFile::new("s01", shard))]);
    Bundle::new(listen, VclFile::new("root", "vcl 4.1; # root"), shards)
}

fn written(shard: &str) -> (tempfile::TempDir, Bundle) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(shard);
    write(folder.path(), &bundle);
    (folder, bundle)
}

/// A writer that knows nothing of those before it.
fn write(folder: &Path, bundle: &Bundle) -> usize {
    BundleFolder::open(folder).unwrap().write(bundle).unwrap()
}

fn shard_path(folder: &Path, bundle: &Bundle) -> PathBuf {
    folder.join(format!("{}.vcl", bundle.manifest.labels["copal_s01"]))
}

#[test]
fn what_is_written_is_read_back() {
    let (folder, bundle) = written("vcl 4.1; # a");
    assert_eq!(read(folder.path(), None).unwrap(), bundle);
}

#[test]
fn a_second_bundle_replaces_the_first_whose_files_go_after_one_more() {
    let (folder, first) = written("vcl 4.1; # a");
    let second = bundle("vcl 4.1; # b");
    assert_eq!(write(folder.path(), &second), 1);
    assert_eq!(read(folder.path(), Some(&first)).unwrap(), second);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    assert_eq!(write(folder.path(), &bundle("vcl 4.1; # c")), 1);
    assert!(!shard_path(folder.path(), &first).exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn known_texts_are_not_read_again() {
    let (folder, bundle) = written("vcl 4.1; # a");
    fs::remove_file(shard_path(folder.path(), &bundle)).unwrap();
    assert_eq!(read(folder.path(), Some(&bundle)).unwrap(), bundle);
}

#[test]
fn a_missing_file_is_named() {
    let (folder, bundle) = written("vcl 4.1; # a");
    let path = shard_path(folder.path(), &bundle);
    fs::remove_file(&path).unwrap();
    let error = read(folder.path(), None).unwrap_err();
    assert!(matches!(error, BundleFolderError::Missing { .. }), "{error}");
    assert_eq!(error.file(), path.file_name().unwrap().to_str().unwrap());
}

#[test]
fn damage_is_found() {
    let (folder, bundle) = written("vcl 4.1; # a");
    fs::write(shard_path(folder.path(), &bundle), "vcl 4.1; #").unwrap();
    assert!(matches!(read(folder.path(), None), Err(BundleFolderError::Damaged(_))));
    let path = folder.path().join(MANIFEST);
    let edited = fs::read_to_string(&path).unwrap().replace("http-80", "http-81");
    fs::write(&path, edited).unwrap();
    assert!(matches!(read(folder.path(), None), Err(BundleFolderError::Revision { .. })));
    fs::write(&path, "{").unwrap();
    assert!(matches!(read(folder.path(), None), Err(BundleFolderError::Json { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(read(folder.path(), None), Err(BundleFolderError::Absent(_))));
}

#[test]
fn names_that_could_escape_are_refused() {
    for name in
        ["copal_../x", "copal_a b", "copal_a\nstop", "root", "", &format!("copal_{}", "x".repeat(200))]
    {
        let mut manifest = Manifest { root: Some(name.to_owned()), ..Manifest::default() };
        manifest.revision = manifest.hash();
        assert!(matches!(check(&manifest), Err(BundleFolderError::Name(_))), "{name:?}");
    }
    let listen = vec![ListenSocket { name: "a=b,PROXY".into(), port: 1 }];
    let mut manifest = Manifest { listen, ..Manifest::default() };
    manifest.revision = manifest.hash();
    assert!(matches!(check(&manifest), Err(BundleFolderError::Name(_))));
}

#[test]
fn an_empty_bundle_is_one_but_sockets_need_a_root() {
    let mut manifest = Manifest::default();
    manifest.revision = manifest.hash();
    assert!(check(&manifest).is_ok());
    manifest.listen.push(ListenSocket { name: "http-80".into(), port: 80 });
    manifest.revision = manifest.hash();
    assert!(matches!(check(&manifest), Err(BundleFolderError::NoRoot)));
}

#[test]
fn damage_is_mended_by_the_next_writer() {
    let (folder, bundle) = written("vcl 4.1; # a");
    assert_eq!(write(folder.path(), &bundle), 0);
    fs::write(shard_path(folder.path(), &bundle), "vcl 4.1; # b").unwrap();
    assert_eq!(write(folder.path(), &bundle), 1);
    assert_eq!(read(folder.path(), None).unwrap(), bundle);
}

#[test]
fn an_empty_bundle_can_be_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &Bundle::default());
    assert_eq!(read(folder.path(), None).unwrap(), Bundle::default());
}

fn with_certificate(server_name: &str) -> Bundle {
    let certificate = Certificate { chain: b"chain".into(), key: b"key".into() };
    let id = certificate_id(&certificate);
    let listener =
        TlsListener { certificates: [(server_name.to_owned(), vec![id.clone()])].into(), clients: None };
    let relay = Relay { listen: [(443, listener)].into(), ..Relay::default() };
    bundle("vcl 4.1; # a").with_relay(Some(relay), [(id, Arc::new(certificate))].into())
}

#[test]
fn certificates_are_part_of_a_bundle() {
    let (folder, bundle) = (tempfile::tempdir().unwrap(), with_certificate("a.example"));
    write(folder.path(), &bundle);
    assert_eq!(read(folder.path(), None).unwrap(), bundle);
    fs::remove_dir_all(folder.path().join(certificates::FOLDER)).unwrap();
    assert_eq!(read(folder.path(), Some(&bundle)).unwrap(), bundle);
    assert!(matches!(read(folder.path(), None), Err(BundleFolderError::Missing { .. })));
}

#[test]
fn server_names_are_checked() {
    for fine in ["", "a.example", "*.example.com", "x-1.a_b.c"] {
        assert!(check(&with_certificate(fine).manifest).is_ok(), "{fine:?}");
    }
    for bad in ["*", "*.", "A.example", "a b", "a.*.b", "a\n", &"a".repeat(256)] {
        let found = check(&with_certificate(bad).manifest);
        assert!(matches!(found, Err(BundleFolderError::ServerName(_))), "{bad:?}");
    }
}
