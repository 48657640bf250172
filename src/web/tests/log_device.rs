//! The device of the log full, dead or slow: not a byte goes out that the log does not have first.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::body::to_bytes;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Browser, World, kind, request, roles, route, wait};
use crate::archive::access::Role;
use crate::archive::entry::Entry;
use crate::archive::reach::Reach;
use crate::seal::note::Signer;
use crate::shell::disk::{Disk, RealDisk};
use crate::shell::vault::log::VaultLog;

/// How the device is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Device {
    Well,
    /// ENOSPC.
    Full,
    /// EIO.
    Dead,
    /// Whoever writes waits until it is well.
    Slow,
}

#[derive(Clone)]
struct Faulty {
    disk: Arc<Mutex<RealDisk>>,
    device: Arc<(Mutex<Device>, Condvar)>,
}

impl Faulty {
    fn set(&self, device: Device) {
        *self.device.0.lock().unwrap() = device;
        self.device.1.notify_all();
    }

    fn step<T>(&self, act: impl FnOnce(&mut RealDisk) -> io::Result<T>) -> io::Result<T> {
        let device = self.device.0.lock().unwrap();
        let device = self.device.1.wait_while(device, |device| *device == Device::Slow).unwrap();
        match *device {
            Device::Full => Err(io::Error::from_raw_os_error(28)),
            Device::Dead => Err(io::Error::from_raw_os_error(5)),
            Device::Well | Device::Slow => act(&mut self.disk.lock().unwrap()),
        }
    }
}

impl Disk for Faulty {
    fn create(&mut self, path: &Path) -> io::Result<()> {
        self.step(|disk| disk.create(path))
    }
    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(|disk| disk.append(path, bytes))
    }
    fn close(&mut self, path: &Path) -> io::Result<()> {
        self.step(|disk| disk.close(path))
    }
    fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.step(|disk| disk.create_dir(path))
    }
    fn sync(&mut self, dir: &Path) -> io::Result<()> {
        self.step(|disk| disk.sync(dir))
    }
    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|disk| disk.rename_new(from, to))
    }
    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(|disk| disk.replace(path, bytes))
    }
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.step(|disk| disk.remove(path))
    }
    fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.step(|disk| disk.read(path))
    }
}

/// A vault whose log is on a device that can be made to fail, with somebody for each request.
async fn world() -> (World, Faulty, Vec<(&'static str, String, Browser, Value)>) {
    let device = Arc::new((Mutex::new(Device::Well), Condvar::new()));
    let faulty = Faulty { disk: Arc::new(Mutex::new(RealDisk::new(false))), device };
    let disk = faulty.clone();
    let world = World::changed(move |vault| {
        let (dir, key) = (vault.log.dir().to_path_buf(), vault.signer().to_text());
        let signer = move || Signer::from_text(&key).unwrap();
        vault.log = VaultLog::new(&dir, signer, Box::new(disk));
    })
    .await;
    world.user("rita", roles(Role::Compliance, Reach::All));
    world.user("audrey", roles(Role::Auditor, Reach::All));
    let one = format!("/api/v1/recordings/{}", world.own);
    let reason = json!({ "reason": { "code": "quality" } });
    let asked = [
        ("search", "/api/v1/recordings".to_owned(), "rita", Value::Null),
        ("recording", one.clone(), "rita", Value::Null),
        ("play", format!("{one}/plays"), "rita", reason),
        ("log", "/api/v1/log".to_owned(), "audrey", Value::Null),
        ("logExport", "/api/v1/log/export".to_owned(), "audrey", Value::Null),
        ("users", "/api/v1/users".to_owned(), "audrey", Value::Null),
    ];
    let asked = asked.map(|(id, path, who, body)| (id, path, world.browser(who, 0), body));
    (world, faulty, asked.into())
}

#[test]
fn where_it_is_full_or_dead_nothing_goes_out() {
    wait(async {
        let (world, faulty, asked) = world().await;
        for device in [Device::Full, Device::Dead] {
            let before = world.entries();
            faulty.set(device);
            for (id, path, browser, body) in &asked {
                let (status, answer) = world.ask(id, path, Some(browser), body).await;
                let what = format!("{id} {device:?}: {answer}");
                assert_eq!((status, kind(&answer)), (StatusCode::SERVICE_UNAVAILABLE, "unlogged"), "{what}");
                assert!(
                    !["4822", "jana", "audrey", "read-log"]
                        .iter()
                        .any(|word| answer.to_string().contains(word))
                );
            }
            assert_eq!(world.entries(), before);
            faulty.set(Device::Well);
            for (id, path, browser, body) in &asked {
                let (status, answer) = world.ask(id, path, Some(browser), body).await;
                assert!(status.is_success(), "{id}: {answer}");
            }
        }
    });
}

#[test]
fn where_it_is_slow_nothing_goes_out_before_it_is_written() {
    wait(async {
        let (world, faulty, asked) = world().await;
        for (id, path, browser, body) in &asked {
            let (before, route) = (world.entries(), route(id));
            let sent = request(route, path, Some(browser), body);
            faulty.set(Device::Slow);
            let shared = Arc::clone(&world.shared);
            let answer = tokio::spawn(crate::web::guard::serve(shared, Some(route), super::here(), sent));
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!answer.is_finished(), "{id}: something went out before the log had it");
            faulty.set(Device::Well);
            let answer = answer.await.unwrap();
            assert!(answer.status().is_success(), "{id}: {}", answer.status());
            assert!(!to_bytes(answer.into_body(), 1 << 20).await.unwrap().is_empty());
            let (entries, _) = world.shared.vault().log.read_from(before, 1).unwrap();
            assert_eq!(Entry::from_bytes(&entries[0]).unwrap().origin, "192.0.2.7", "{id}");
        }
    });
}
