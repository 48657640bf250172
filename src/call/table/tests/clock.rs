//! A capture clock that is set while calls run.

use super::*;

impl Scene {
    fn set_clock(&mut self, seconds: i64) {
        self.now_ms = self.now_ms.strict_add_signed(seconds * 1_000);
        self.table.clock_set(seconds * 1_000_000_000);
        let told = std::iter::from_fn(|| self.table.poll_event())
            .filter(
                |event| matches!(event, Event::ClockSet { nanos, .. } if *nanos == seconds * 1_000_000_000),
            )
            .count();
        assert_eq!(told, self.table.live());
    }
}

#[test]
fn a_call_goes_on_in_the_time_it_began_in() {
    for seconds in [-900, 7_200] {
        let mut scene = Scene::new(false);
        let (a, b) = (at(CALLER, 4000), at(CALLEE, 4002));
        let start = scene.stamp();
        let slot = scene.call("one", 4000, 4002);
        for sequence in 0..50 {
            assert_eq!(scene.packet(a, b, 7, sequence), Some(slot));
        }
        scene.set_clock(seconds);
        for sequence in 50..200 {
            assert_eq!(scene.packet(a, b, 7, sequence), Some(slot));
            scene.table.sweep(scene.stamp());
        }
        assert_eq!(scene.table.live(), 1, "nothing times out");
        scene.bye("one");
        scene.wait_ms(6_000);
        scene.table.sweep(scene.stamp());
        let Some(Event::Closed { closed, .. }) = scene.table.poll_event() else { panic!("not closed") };
        assert_eq!((closed.start, closed.end), (start, start.shifted(4_000_000_000)), "{seconds}");
        assert_eq!(closed.media_after, None);
        // What begins after it has the new time.
        let now = scene.stamp();
        scene.call("two", 4000, 4002);
        scene.table.finish();
        let Some(Event::Closed { closed, .. }) = scene.table.poll_event() else { panic!("not closed") };
        assert_eq!(closed.start, now);
        assert_eq!(scene.table.conditions().get(Condition::ClockStepped), 1);
    }
}

/// Claims made before and after keep their order.
#[test]
fn the_newer_claim_is_still_the_newer_one() {
    let mut scene = Scene::new(false);
    scene.call("one", 4000, 4002);
    scene.set_clock(-900);
    let second = scene.call("two", 4000, 4002);
    assert_eq!(scene.packet(at(CALLER, 4000), at(CALLEE, 4002), 7, 1), Some(second));
}
