//! The C2SP CCTV age test kit: each file says what must become of it.
//!
//! The vectors are not in the repository; without them the test says so and passes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use sejf::seal::header::HeaderError;
use sejf::seal::identity::Identities;
use sejf::seal::identity::NoHelp;
use sejf::seal::identity::UnwrapError;
use sejf::seal::open::OpenError;
use sejf::seal::open::Opener;

#[test]
fn every_vector_of_the_age_test_kit_gives_its_result() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/captures/vectors/age-testkit"));
    let Ok(entries) = fs::read_dir(folder) else {
        println!("skipped: no {}", folder.display());
        return;
    };
    let mut faults = Vec::new();
    let mut count = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        count += 1;
        if let Err(fault) = check(&fs::read(&path).unwrap()) {
            faults.push(format!("{name}: {fault}"));
        }
    }
    faults.sort();
    assert!(faults.is_empty(), "{} of {count}:\n{}", faults.len(), faults.join("\n"));
    assert!(count >= 143, "only {count} vectors");
}

fn check(vector: &[u8]) -> Result<(), String> {
    let split = vector.windows(2).position(|pair| pair == b"\n\n").ok_or("no empty line")?;
    let text = std::str::from_utf8(&vector[..split]).map_err(|error| error.to_string())?;
    let mut file = vector[split + 2..].to_vec();
    let mut keys = BTreeMap::new();
    let mut identities = Identities::default();
    for line in text.lines() {
        let (key, value) = line.split_once(": ").ok_or("no colon")?;
        match key {
            "identity" => identities.add_with(value, &mut NoHelp).map_err(|error| error.to_string())?,
            "passphrase" => identities.add_passphrase(value),
            _ => drop(keys.insert(key, value)),
        }
    }
    if keys.get("compressed") == Some(&"zlib") {
        let mut plain = Vec::new();
        flate2::read::ZlibDecoder::new(&file[..])
            .read_to_end(&mut plain)
            .map_err(|error| error.to_string())?;
        file = plain;
    }
    let mut released = Vec::new();
    let result = open(&file, &identities, &mut released);
    let want = keys["expect"];
    if !expected(want, &result) {
        return Err(format!("want {want}, got {result:?}"));
    }
    let hash = ring::digest::digest(&ring::digest::SHA256, &released);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    match keys.get("payload") {
        Some(want) if *want != hash => Err(format!("released {} bytes, not those expected", released.len())),
        None if !released.is_empty() => Err("released bytes".into()),
        _ => Ok(()),
    }
}

fn open(file: &[u8], identities: &Identities, released: &mut Vec<u8>) -> Result<(), OpenError> {
    let mut opener = Opener::open(file, identities)?;
    while let Some(chunk) = opener.next_chunk()? {
        released.extend_from_slice(chunk);
    }
    Ok(())
}

fn expected(want: &str, result: &Result<(), OpenError>) -> bool {
    let Err(error) = result else { return want == "success" };
    match error {
        OpenError::Armor(_) => want == "armor failure",
        // A file that ends inside its nonce is cut for us, and has no whole header for the test kit.
        OpenError::Cut { chunk: 0 } => want == "payload failure" || want == "header failure",
        OpenError::Changed { .. } | OpenError::Cut { .. } | OpenError::Trailing { .. } => {
            want == "payload failure"
        }
        // Armor that has nothing in it, or does not end, is a cut header for us.
        OpenError::NotAge | OpenError::Header(HeaderError::Cut { .. }) => {
            want == "header failure" || want == "armor failure"
        }
        OpenError::Header(_) => want == "header failure",
        OpenError::HeaderChanged => want == "HMAC failure",
        OpenError::Unwrap(UnwrapError::NoMatch) => want == "no match",
        OpenError::Unwrap(_) => want == "header failure",
        _ => false,
    }
}
