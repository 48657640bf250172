//! A recorder that decides by rules: what it cannot tell, and rules that come while it runs.

use std::sync::Arc;
use std::time::Duration;

use sejf::base::counters::Discard;
use sejf::base::policy::Condition;
use sejf::recording::manifest::State;

use crate::shedding::{CALLS, Run, Scene};
use crate::support::without;

/// Takes out of the scene's capture what has `bytes` in it.
fn take_out(scene: &Scene, bytes: &[u8]) {
    let whole = std::fs::read(&scene.capture).expect("capture");
    std::fs::write(&scene.capture, without(&whole, bytes)).expect("capture");
}

#[test]
fn calls_whose_beginning_was_not_seen_are_kept_out_where_a_rule_may_keep_them_out() {
    for in_doubt in [false, true] {
        let scene = Scene::of(&format!(
            "[[rule]]\nname = \"out\"\naction = \"exclude\"\nmatch = {{ user_agent = \"*scanner*\" }}\n\
             [[rule]]\nname = \"all\"\naction = \"record\"\nin_doubt = {in_doubt}\n"
        ));
        take_out(&scene, b"INVITE sip");
        let mut run = Run::freely(&scene);
        run.feed_until(Duration::MAX);
        run.settle();
        let undecided = run.recorder.conditions().get(Condition::RuleUndecided);
        let (summary, manifests) = run.finish_all();
        assert!(summary.balanced, "{summary:?}");
        assert_eq!((manifests.len() as u64, undecided), (CALLS, if in_doubt { 0 } else { CALLS }));
        for manifest in manifests {
            let frames = manifest.counters.discarded.get(&Discard::Undecided).copied().unwrap_or(0);
            if in_doubt {
                assert_eq!((manifest.state, frames), (State::Complete, 0));
                assert!(manifest.rule.starts_with("all@"), "{}", manifest.rule);
            } else {
                assert_eq!((manifest.state, manifest.files.len()), (State::Excluded, 0));
                assert_eq!((frames, manifest.counters.recorded), (manifest.counters.captured, 0));
                assert!(frames > 100, "{frames}");
                assert!(manifest.rule.starts_with("undecided@"), "{}", manifest.rule);
                assert!(manifest.call.caller.is_empty() && manifest.call.call_ids.is_empty());
            }
        }
    }
}

#[test]
fn media_without_signalling_is_recorded_from_when_a_rule_asks_for_it() {
    let rule = |more: &str| format!("[[rule]]\nname = \"media\"\naction = \"record\"\n{more}");
    let (scene, asking) = (Scene::of(&rule("")), Scene::of(&rule("match.orphan = true\n")));
    take_out(&scene, b"SIP/2.0");
    let mut run = Run::freely(&scene);
    run.feed_until(Duration::from_secs(8));
    run.settle();
    assert_eq!(run.recorder.progress().calls.load(std::sync::atomic::Ordering::Relaxed), 0);
    run.recorder.decide_by(&Arc::new(asking.policy()));
    let (summary, manifests) = run.finish_all();
    assert!(summary.balanced, "{summary:?}");
    assert!(summary.counters.discarded[&Discard::MediaUnclaimed] > 100, "{summary:?}");
    // Those that begin later, at least; those that go on as well.
    assert!((4..=CALLS as usize).contains(&manifests.len()), "{}", manifests.len());
    assert!(manifests.iter().all(|manifest| manifest.call.orphan && manifest.counters.recorded > 0));
}
