//! Files, connections and threads that fail: each of them alone.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sejf::seal::receipt::Receipt;
use sejf::shell::signals::Stop;
use sejf::shell::vault::forward::{self, Config};
use sejf::shell::vault::intake::serve::{ServeError, Server, TLS};
use sejf::shell::vault::intake::{Intake, Spool, protocol, tls};

use crate::vault_intake::send::{Running, client, enrol, status, until, url};
use crate::vault_intake::{World, files_of, wait};

impl World {
    /// The first file of the first receipt that has any.
    fn first_file(&self, spool: &str) -> PathBuf {
        let dir = self.bench.path(spool);
        let piece = Spool::open(&dir).unwrap().piece(0).unwrap();
        let receipts = piece.entries.iter().filter_map(|entry| Receipt::from_entry(entry.as_bytes()).ok());
        let name = receipts.flat_map(|receipt| receipt.files).next().unwrap().name;
        dir.join(name)
    }

    /// Where the recorder's files come in.
    fn sent(&self) -> PathBuf {
        let recorder = Spool::open(&self.bench.path("spool")).unwrap().recorder().clone();
        let folder = self.with_intake(async |intake| protocol::folder(intake, &recorder));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Sends receipts, and no file yet; those are in `away`.
    fn send_receipts(&self, config: &Config) -> Vec<PathBuf> {
        let away = self.bench.path("away");
        fs::rename(self.bench.path("spool"), &away).unwrap();
        fs::create_dir(self.bench.path("spool")).unwrap();
        fs::rename(away.join("receipts"), self.bench.path("spool/receipts")).unwrap();
        wait(forward::pass(config)).unwrap();
        files_of(&away)
    }
}

fn url_of(config: &Config, file: &std::path::Path) -> String {
    let name = file.file_name().unwrap().to_str().unwrap();
    url(config, &format!("recordings/{}/{name}", name.split('.').next().unwrap()))
}

#[test]
fn a_file_that_is_spoilt_holds_up_no_other() {
    let world = World::new();
    world.record(&["basic.pcap", "bye-from-callee.pcap"], "spool");
    let all = files_of(&world.bench.path("spool")).len() as u64;
    let path = world.first_file("spool");
    let sealed = fs::read(&path).unwrap();
    let mut spoilt = sealed.clone();
    *spoilt.last_mut().unwrap() ^= 1;
    fs::write(&path, spoilt).unwrap();
    let running = Running::start(&world, true);
    // Wherever `localhost` leads first, it is found.
    let at = format!("localhost:{}", running.address.port());
    let config = Config { address: at, ..enrol(&world, "spool", "peer", running.address) };
    let pass = wait(forward::pass(&config)).unwrap();
    assert_eq!((pass.files, pass.failed), (all - 1, 1), "{pass:?}");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(pass.fault.is_some_and(|fault| fault.contains(name)));
    until("the others archived", || status(&world).archived == all / 2 - 1);
    fs::write(&path, sealed).unwrap();
    let pass = wait(forward::pass(&config)).unwrap();
    assert_eq!((pass.files, pass.failed), (1, 0), "{pass:?}");
    until("all archived", || status(&world).archived == all / 2);
}

/// All of it came, and the vault ended before it looked; a power failure may have spoilt it.
#[test]
fn a_file_that_was_not_looked_at_is_looked_at_when_it_is_asked_for() {
    for is_spoilt in [false, true] {
        let world = World::new();
        world.record(&["basic.pcap"], "spool");
        let running = Running::start(&world, true);
        let config = enrol(&world, "spool", "peer", running.address);
        let files = world.send_receipts(&config);
        for file in &files {
            let part = world.sent().join(format!(".{}.part", file.file_name().unwrap().to_str().unwrap()));
            let mut bytes = fs::read(file).unwrap();
            *bytes.last_mut().unwrap() ^= u8::from(is_spoilt);
            fs::write(&part, &bytes).unwrap();
            let (client, at) = (client(&config), url_of(&config, file));
            let head = wait(async { client.head(at).send().await.unwrap() });
            assert_eq!(head.headers()["upload-offset"], bytes.len().to_string().as_str());
            assert!(part.exists(), "a question waits for no disk");
            fs::rename(file, world.bench.path("spool").join(file.file_name().unwrap())).unwrap();
        }
        let pass = wait(forward::pass(&config)).unwrap();
        assert_eq!(pass.files as usize, files.len(), "{pass:?}");
        assert_eq!(pass.bytes > 0, is_spoilt, "{pass:?}");
        until("archived", || status(&world).archived == 1);
        drop(running);
        assert_eq!(world.opened(), world.opened_there("spool"));
    }
}

/// The other end is gone, and has not said so: a firewall, a cable.
#[test]
fn a_connection_of_which_nothing_comes_keeps_no_file() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let running = Running::start_as(&world, true, |server| server.patience(Duration::from_secs(2)));
    let config = enrol(&world, "spool", "peer", running.address);
    let files = world.send_receipts(&config);
    let sealed = fs::read(&files[0]).unwrap();
    let (silent, at, half) =
        (client(&config), url_of(&config, &files[0]), sealed[..sealed.len() / 2].to_vec());
    let range = format!("bytes 0-{}/{}", sealed.len() - 1, sealed.len());
    let part = world.sent().join(format!(".{}.part", files[0].file_name().unwrap().to_str().unwrap()));
    let length = half.len() as u64;
    std::thread::spawn(move || {
        let half = futures_util::stream::once(async move { Ok::<_, std::io::Error>(half) });
        let body = reqwest::Body::wrap_stream(half.chain(futures_util::stream::pending()));
        wait(async { silent.put(at).header("content-range", range).body(body).send().await }).map(drop)
    });
    until("half of it is there", || fs::metadata(&part).is_ok_and(|facts| facts.len() == length));
    for file in &files {
        fs::rename(file, world.bench.path("spool").join(file.file_name().unwrap())).unwrap();
    }
    until("sent by another connection", || {
        let _ = wait(forward::pass(&config));
        status(&world).archived == 1
    });
    drop(running);
    assert_eq!(world.opened(), world.opened_there("spool"));
}

#[test]
fn who_is_revoked_is_so_at_once_and_nobody_has_connections_without_end() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let running = Running::start(&world, false);
    let config = enrol(&world, "spool", "peer", running.address);
    let at = url(&config, "receipts");
    wait(async {
        let mut open = Vec::new();
        loop {
            let next = client(&config);
            match next.get(&at).send().await {
                Ok(answer) => assert_eq!(answer.status(), 200),
                Err(_) => break,
            }
            open.push(next);
            assert!(open.len() < 100, "there is no end of connections");
        }
        assert!(open.len() > 1);
        let pem = fs::read(&config.certificate).unwrap();
        let fingerprint = tls::fingerprint(&CertificateDer::from_pem_slice(&pem).unwrap());
        fs::write(world.bench.path("home").join(TLS).join("revoked"), format!("{fingerprint}\n")).unwrap();
        // The connection is the one that is open: another one is not even begun.
        assert_eq!(open[0].get(&at).send().await.unwrap().status(), 403);
        assert!(client(&config).get(&at).send().await.is_err());
    });
    until("told", || status(&world).refused_connections >= 2);
}

#[test]
fn a_vault_that_takes_nothing_in_any_more_ends() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    world.free("spool");
    let vault = world.vault();
    let thread = std::thread::spawn(|| {
        wait(async {
            let intake = Intake::open(vault).await.unwrap().ending(|step| panic!("a fault after {step:?}"));
            Server::bind(intake, None).await.unwrap().run(Stop::default()).await
        })
    });
    until("ended", || thread.is_finished());
    let ended = thread.join().unwrap();
    assert!(matches!(ended, Err(ServeError::Ended)), "{ended:?}");
}
