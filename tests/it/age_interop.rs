//! Ours opened by others, theirs opened by us: the `age` crate and the `age` command.

use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use sejf::seal::identity::Identities;
use sejf::seal::identity::generate_hybrid;
use sejf::seal::identity::generate_x25519;
use sejf::seal::open::OpenError;
use sejf::seal::open::Opener;
use sejf::seal::random::Seeded;
use sejf::seal::recipient::Recipients;
use sejf::seal::stream::PagePool;
use sejf::seal::stream::SealedChunk;
use sejf::seal::stream::Sealer;

const CHUNK: usize = 64 * 1024;
const SIZES: [usize; 8] = [0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 200_000];

fn random() -> Seeded {
    Seeded::new(&[9; 32], "interop", 0)
}

fn seal(recipients: &Recipients, plain: &[u8]) -> Vec<u8> {
    let mut pool = PagePool::default();
    let (mut sealer, start) = Sealer::start(recipients, &mut random()).unwrap();
    let mut file = start.into_vec();
    let mut take = |chunk: SealedChunk| file.extend(chunk.into_vec());
    for part in plain.chunks(250) {
        sealer.write(part, &mut pool, &mut take);
    }
    sealer.finish(&mut pool, &mut take);
    file
}

fn open(file: &[u8], identities: &Identities) -> Result<Vec<u8>, OpenError> {
    Opener::open(file, identities)?.read_whole().map(|plain| plain.to_vec())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 253) as u8).collect()
}

/// Runs `age`, or returns `None` where there is none.
fn age(arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    if !Path::new("/usr/bin/age").exists() {
        println!("skipped: no /usr/bin/age");
        return None;
    }
    let mut child = Command::new("/usr/bin/age")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // The command may end before it has read all: its exit status tells.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "age {arguments:?}: {}", output.status);
    Some(output.stdout)
}

#[test]
fn the_age_crate_opens_ours_and_we_open_its() {
    let (identity, recipient) = generate_x25519(&mut random());
    let theirs: age::x25519::Identity = identity.parse().unwrap();
    let recipients = Recipients::parse([&recipient]).unwrap();
    let identities = Identities::parse(&identity).unwrap();
    for size in SIZES {
        let plain = pattern(size);
        assert_eq!(age::decrypt(&theirs, &seal(&recipients, &plain)).unwrap(), plain, "{size}");
        let their_file = age::encrypt(&theirs.to_public(), &plain).unwrap();
        assert_eq!(open(&their_file, &identities).unwrap(), plain, "{size}");
        let armored = age::encrypt_and_armor(&theirs.to_public(), &plain).unwrap();
        assert_eq!(open(armored.as_bytes(), &identities).unwrap(), plain, "{size} armored");
    }
}

#[test]
fn the_age_command_opens_ours_and_we_open_its() {
    let (identity, recipient) = generate_x25519(&mut random());
    let recipients = Recipients::parse([&recipient]).unwrap();
    let identities = Identities::parse(&identity).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.txt");
    std::fs::write(&key, identity.as_bytes()).unwrap();
    let key = key.to_str().unwrap();
    for size in SIZES {
        let plain = pattern(size);
        let Some(opened) = age(&["-d", "-i", key], &seal(&recipients, &plain)) else { return };
        assert_eq!(opened, plain, "{size}");
        let Some(their_file) = age(&["-r", &recipient], &plain) else { return };
        assert_eq!(open(&their_file, &identities).unwrap(), plain, "{size}");
        let Some(armored) = age(&["-a", "-r", &recipient], &plain) else { return };
        assert_eq!(open(&armored, &identities).unwrap(), plain, "{size} armored");
    }
}

/// An SSH key made for this test; it opens nothing else.
#[test]
fn ssh_keys_open_what_is_sealed_to_them() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, extra) in [("ed25519", &[][..]), ("rsa", &["-b", "2048"][..])] {
        let key = folder.path().join(kind);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-C", "test", "-f"])
            .arg(&key)
            .args(extra)
            .status();
        if !made.is_ok_and(|status| status.success()) {
            println!("skipped: no ssh-keygen");
            return;
        }
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let recipients = Recipients::parse([&public]).unwrap();
        let file = seal(&recipients, b"hello");
        let identities = Identities::parse(&std::fs::read_to_string(&key).unwrap()).unwrap();
        assert_eq!(open(&file, &identities).unwrap(), b"hello", "{kind}");
        if let Some(opened) = age(&["-d", "-i", key.to_str().unwrap()], &file) {
            assert_eq!(opened, b"hello", "{kind}");
        }
    }
}

#[test]
fn each_of_several_hybrid_recipients_opens_alone() {
    let mut source = random();
    let pairs: Vec<_> = (0..3).map(|_| generate_hybrid(&mut source)).collect();
    let recipients = Recipients::parse(pairs.iter().map(|pair| &pair.1)).unwrap();
    let file = seal(&recipients, b"hello");
    for (identity, _) in &pairs {
        assert_eq!(open(&file, &Identities::parse(identity).unwrap()).unwrap(), b"hello");
    }
    let (stranger, _) = generate_hybrid(&mut source);
    let error = open(&file, &Identities::parse(&stranger).unwrap()).unwrap_err();
    assert!(error.is_no_match(), "{error}");
}

#[test]
fn the_same_seed_seals_the_same_file() {
    let (_, recipient) = generate_hybrid(&mut random());
    let recipients = Recipients::parse([recipient]).unwrap();
    assert_eq!(seal(&recipients, &pattern(70_000)), seal(&recipients, &pattern(70_000)));
}

#[test]
fn every_changed_byte_and_every_cut_is_an_error() {
    let (identity, recipient) = generate_x25519(&mut random());
    let identities = Identities::parse(&identity).unwrap();
    let file = seal(&Recipients::parse([recipient]).unwrap(), b"a small recording");
    assert_eq!(open(&file, &identities).unwrap(), b"a small recording");
    for at in 0..file.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut changed = file.clone();
            changed[at] ^= flip;
            assert!(open(&changed, &identities).is_err(), "byte {at} ^ {flip:#x}");
        }
        assert!(open(&file[..at], &identities).is_err(), "cut to {at}");
    }
}

#[test]
fn a_large_file_gives_out_what_is_whole_and_then_says_what_is_wrong() {
    let (identity, recipient) = generate_x25519(&mut random());
    let identities = Identities::parse(&identity).unwrap();
    let plain = pattern(3 * CHUNK + 10);
    let file = seal(&Recipients::parse([recipient]).unwrap(), &plain);
    let start = file.len() - (3 * (CHUNK + 16) + 26);
    let read = |file: &[u8]| {
        let mut opener = Opener::open(file, &identities).unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = opener.next_chunk().transpose() {
            match chunk {
                Ok(chunk) => all.extend_from_slice(chunk),
                Err(error) => return (all, Some(error)),
            }
        }
        (all, None)
    };
    let (all, error) = read(&file[..start + 2 * (CHUNK + 16)]);
    assert_eq!(all, plain[..2 * CHUNK]);
    assert!(matches!(error, Some(OpenError::Cut { chunk: 2 })), "{error:?}");
    let mut changed = file.clone();
    changed[start + CHUNK + 16 + 5] ^= 1;
    let (all, error) = read(&changed);
    assert_eq!(all, plain[..CHUNK]);
    assert!(matches!(error, Some(OpenError::Changed { chunk: 1 })), "{error:?}");
    let mut swapped = file.clone();
    swapped[start..start + 2 * (CHUNK + 16)].rotate_left(CHUNK + 16);
    assert!(matches!(read(&swapped), (all, Some(OpenError::Changed { chunk: 0 })) if all.is_empty()));
    let mut longer = file.clone();
    longer.extend_from_slice(&file[start..]);
    assert!(read(&longer).1.is_some());

    let mut reader = Opener::open(&file[..file.len() - 1], &identities).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(matches!(error.downcast::<OpenError>(), Ok(OpenError::Cut { chunk: 3 })));
}
