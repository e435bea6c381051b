//! A bundle as objects of limited size: an index, and packs of files.
//!
//! The index has the manifest and the files that changed lately, so that a change is one small object. When those
//! become too many, all but the latest move into the packs. A file's pack follows from its part of the bundle, so a reader who knows
//! the manifest knows where to look. Everything is gzipped.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::{Bundle, Manifest, VclFile, VclName};

/// Packs of a bundle. With the 1 MiB that an object may have they hold some 10,000 virtual hosts.
pub const PACKS: usize = 16;
/// Secrets that certificates are spread over. Each holds some 300 of the usual size, with the issuer's in the chain.
pub const SECRETS: usize = 64;
/// Files that the index may hold, in bytes as they are stored. All of it is written, and sent to the pods, with each
/// change: an object with 40 files of 2.5 kB takes the API server 20 ms, one with 10 of them 6 ms.
const INDEX_LIMIT: usize = 24 << 10;
/// The largest file that is unpacked, in bytes.
const MAX_FILE: u64 = 16 << 20;
const MANIFEST: &str = "manifest.json.gz";
const SUFFIX: &str = ".vcl.gz";

/// The content of one object: file names and what is stored under them.
pub type Content = BTreeMap<String, Arc<[u8]>>;

/// What has to be written, the packs first: an index must not name what is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Packs by number; each is written as a whole.
    pub packs: BTreeMap<usize, Content>,
    /// The index.
    pub index: Content,
}

/// Why objects are not a bundle.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The index has no manifest.
    #[error("the index has no manifest")]
    NoManifest,
    /// What is stored cannot be unpacked.
    #[error("{name} cannot be unpacked")]
    Unzip {
        /// The file.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The manifest is not JSON of the known form.
    #[error("the manifest cannot be read")]
    Json(#[from] serde_json::Error),
    /// A file is neither in the index nor in its pack.
    #[error("VCL {0} is neither in the index nor in its pack")]
    Missing(VclName),
    /// A file's text is not what its name says.
    #[error("VCL {0} is not what its name says")]
    Damaged(VclName),
}

/// Packs one bundle after the other, and remembers what it packed where.
#[derive(Debug, Default)]
pub struct Packer {
    packed: Files,
    recent: Files,
}

/// Files as they are stored.
type Files = BTreeMap<VclName, Arc<[u8]>>;

impl Packer {
    /// Goes on where another one left off, which has stored `index` and `packs`.
    #[must_use]
    pub fn resume(index: &Content, packs: &BTreeMap<usize, Content>) -> Self {
        let file = |(name, file): (&String, &Arc<[u8]>)| {
            Some((name.strip_suffix(SUFFIX)?.to_owned(), Arc::clone(file)))
        };
        Self {
            packed: packs.values().flatten().filter_map(file).collect(),
            recent: index.iter().filter_map(file).collect(),
        }
    }

    /// What has to be written for a bundle, when everything for the one before has been.
    ///
    /// # Errors
    /// When a file cannot be compressed, which does not happen in memory.
    pub fn pack(&mut self, bundle: &Bundle) -> io::Result<Writes> {
        self.recent.retain(|name, _| bundle.files.contains_key(name));
        let mut latest = Files::new();
        for (name, text) in &bundle.files {
            if !self.packed.contains_key(name) && !self.recent.contains_key(name) {
                latest.insert(name.clone(), zip(text.as_bytes())?);
            }
        }
        if size(&latest) > INDEX_LIMIT {
            self.recent.append(&mut latest);
        }
        let too_many = size(&self.recent) + size(&latest) > INDEX_LIMIT;
        let packs = if too_many { self.repack(bundle) } else { BTreeMap::new() };
        self.recent.append(&mut latest);
        let manifest = serde_json::to_vec(&bundle.manifest).map_err(io::Error::other)?;
        let files = self.recent.iter().map(|(name, file)| (stored(name), Arc::clone(file)));
        let index = files.chain([(MANIFEST.to_owned(), zip(&manifest)?)]).collect();
        Ok(Writes { packs, index })
    }

    /// Moves all recent files into the packs, and drops from those what the bundle does not have.
    fn repack(&mut self, bundle: &Bundle) -> BTreeMap<usize, Content> {
        let stale = self.packed.keys().filter(|name| !bundle.files.contains_key(*name));
        let touched = self.recent.keys().chain(stale).map(|name| (pack_of(name), Content::new()));
        let mut packs: BTreeMap<usize, Content> = touched.collect();
        self.packed.retain(|name, _| bundle.files.contains_key(name));
        self.packed.append(&mut self.recent);
        for (name, file) in &self.packed {
            if let Some(pack) = packs.get_mut(&pack_of(name)) {
                pack.insert(stored(name), Arc::clone(file));
            }
        }
        packs
    }
}

fn size(files: &Files) -> usize {
    files.values().map(|file| file.len()).sum()
}

/// The pack of a VCL: that of its part of the bundle, whatever its hash.
#[must_use]
pub fn pack_of(name: &str) -> usize {
    let part = name.rsplit_once('_').map_or(name, |(part, _)| part);
    // FNV-1a: spreads short names well, and is the same everywhere.
    let hash =
        part.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    usize::try_from(hash).unwrap_or_default() % PACKS
}

/// The name of a pack, by that of the index.
#[must_use]
pub fn pack_name(index: &str, pack: usize) -> String {
    format!("{index}-vcl-{pack}")
}

/// The Secret of a certificate: its name is a hash in hex.
#[must_use]
pub fn secret_of(certificate: &str) -> usize {
    let digits = certificate.get(..2).and_then(|digits| usize::from_str_radix(digits, 16).ok());
    digits.unwrap_or_default() % SECRETS
}

/// The name of a Secret with certificates, by that of the index.
#[must_use]
pub fn secret_name(index: &str, secret: usize) -> String {
    format!("{index}-tls-{secret}")
}

/// The manifest in an index.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn manifest(index: &Content) -> Result<Manifest, UnpackError> {
    let stored = index.get(MANIFEST).ok_or(UnpackError::NoManifest)?;
    Ok(serde_json::from_slice(&unzip(MANIFEST, stored)?)?)
}

/// The packs that are needed besides the index; texts that `known` has are not needed again.
#[must_use]
pub fn needed(manifest: &Manifest, index: &Content, known: Option<&Bundle>) -> BTreeSet<usize> {
    let is_known = |name: &VclName| known.is_some_and(|bundle| bundle.files.contains_key(name));
    let names = manifest.labels.values().chain(&manifest.root);
    let missing = names.filter(|name| !is_known(name) && !index.contains_key(&stored(name)));
    missing.map(|name| pack_of(name)).collect()
}

/// Puts a bundle together again, without its certificates.
///
/// # Errors
/// When a file is missing or not intact.
pub fn unpack(
    manifest: Manifest,
    index: &Content,
    packs: &BTreeMap<usize, Content>,
    known: Option<&Bundle>,
) -> Result<Bundle, UnpackError> {
    let mut files = BTreeMap::new();
    for name in manifest.labels.values().chain(&manifest.root) {
        let text = match known.and_then(|bundle| bundle.files.get(name)) {
            Some(text) => Arc::clone(text),
            None => file(name, index, packs)?,
        };
        files.insert(name.clone(), text);
    }
    Ok(Bundle { manifest, files, ..Bundle::default() })
}

fn file(name: &VclName, index: &Content, packs: &BTreeMap<usize, Content>) -> Result<Arc<str>, UnpackError> {
    let key = stored(name);
    let found = index.get(&key).or_else(|| packs.get(&pack_of(name))?.get(&key));
    let bytes = unzip(&key, found.ok_or_else(|| UnpackError::Missing(name.clone()))?)?;
    let text = String::from_utf8(bytes).map_err(|_| UnpackError::Damaged(name.clone()))?;
    let file = VclFile { name: name.clone(), text: text.into() };
    if file.is_intact() { Ok(file.text) } else { Err(UnpackError::Damaged(file.name)) }
}

fn stored(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

fn zip(content: &[u8]) -> io::Result<Arc<[u8]>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content)?;
    Ok(encoder.finish()?.into())
}

fn unzip(name: &str, stored: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let mut content = Vec::new();
    let read = GzDecoder::new(stored).take(MAX_FILE).read_to_end(&mut content);
    read.map_err(|source| UnpackError::Unzip { name: name.to_owned(), source })?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(texts: impl IntoIterator<Item = (usize, String)>) -> Bundle {
        let shards = texts.into_iter().map(|(number, text)| {
            let part = format!("s{number}");
            (format!("copal_{part}"), VclFile::new(&part, text))
        });
        Bundle::new(Vec::new(), VclFile::new("root", "root"), shards.collect())
    }

    /// What is stored, as a reader without a memory finds it.
    #[derive(Default)]
    struct Stored {
        index: Content,
        packs: BTreeMap<usize, Content>,
    }

    impl Stored {
        fn write(&mut self, writes: Writes) {
            self.packs.extend(writes.packs);
            self.index = writes.index;
        }

        fn read(&self, known: Option<&Bundle>) -> Result<Bundle, UnpackError> {
            let manifest = manifest(&self.index)?;
            let needed = needed(&manifest, &self.index, known);
            let packs = self.packs.iter().filter(|(pack, _)| needed.contains(pack));
            unpack(manifest, &self.index, &packs.map(|(pack, it)| (*pack, it.clone())).collect(), known)
        }
    }

    /// Text that does not compress.
    fn noise(seed: usize) -> String {
        let mut state = seed as u64 + 1;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(33 + u8::try_from((state >> 33) % 90).unwrap())
        };
        std::iter::repeat_with(next).take(4000).collect()
    }

    #[test]
    fn a_change_is_one_small_object_until_there_are_too_many() {
        let (mut packer, mut stored) = (Packer::default(), Stored::default());
        let mut rewritten = 0;
        for round in 0..100 {
            let texts =
                (0..100).map(|number| (number, noise(if number <= round { 1000 + number } else { number })));
            let bundle = bundle(texts);
            let writes = packer.pack(&bundle).unwrap();
            assert!(writes.index.values().map(|file| file.len()).sum::<usize>() < INDEX_LIMIT + 20_000);
            rewritten += usize::from(round > 0 && !writes.packs.is_empty());
            stored.write(writes);
            assert_eq!(stored.read(None).unwrap(), bundle, "round {round}");
            let latest = &bundle.manifest.labels[&format!("copal_s{round}")];
            assert!(round == 0 || stored.index.contains_key(&super::stored(latest)), "pods find it at once");
        }
        assert!((10..30).contains(&rewritten), "{rewritten}");
    }

    #[test]
    fn a_reader_needs_no_pack_for_what_it_knows() {
        let (mut packer, mut stored) = (Packer::default(), Stored::default());
        let first = bundle((0..100).map(|number| (number, noise(number))));
        stored.write(packer.pack(&first).unwrap());
        let second = bundle((0..100).map(|number| (number, noise(if number == 7 { 999 } else { number }))));
        stored.write(packer.pack(&second).unwrap());
        stored.packs.clear();
        assert_eq!(stored.read(Some(&first)).unwrap(), second);
        assert!(matches!(stored.read(None), Err(UnpackError::Missing(_))));
    }

    #[test]
    fn another_packer_goes_on_where_one_left_off() {
        let (mut packer, mut stored) = (Packer::default(), Stored::default());
        let first = bundle((0..100).map(|number| (number, noise(number))));
        stored.write(packer.pack(&first).unwrap());
        let second = bundle((0..100).map(|number| (number, noise(if number == 7 { 999 } else { number }))));
        stored.write(packer.pack(&second).unwrap());
        let mut resumed = Packer::resume(&stored.index, &stored.packs);
        assert_eq!(
            resumed.pack(&second).unwrap(),
            Writes { packs: BTreeMap::new(), index: stored.index.clone() }
        );
        for round in 0..60 {
            let texts =
                (0..100).map(|number| (number, noise(if number <= round { 2000 + number } else { number })));
            let next = bundle(texts);
            stored.write(resumed.pack(&next).unwrap());
            assert_eq!(stored.read(None).unwrap(), next, "round {round}");
        }
    }

    #[test]
    fn damage_is_found() {
        let mut packer = Packer::default();
        let writes = packer.pack(&bundle([(1, "one".to_owned())])).unwrap();
        let key = writes.index.keys().find(|key| key.contains("_s1_")).unwrap().clone();
        let mut stored = Stored::default();
        stored.write(writes);
        stored.index.insert(key.clone(), zip(b"two").unwrap());
        assert!(matches!(stored.read(None), Err(UnpackError::Damaged(_))));
        stored.index.insert(key, b"no gzip".as_slice().into());
        assert!(matches!(stored.read(None), Err(UnpackError::Unzip { .. })));
        stored.index.remove(MANIFEST);
        assert!(matches!(stored.read(None), Err(UnpackError::NoManifest)));
    }
}
