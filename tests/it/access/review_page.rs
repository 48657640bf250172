//! The review and the samples in a real browser. Where no browser is installed, these say that they skip.

use sejf::archive::access::Action;
use sejf::archive::entry::{Entry, Outcome, Resource, SCHEMA};
use sejf::archive::sampling::{Quarter, Told};
use sejf::shell::clock;

use super::page::{Visitor, accessible, axe, site};

#[test]
fn an_administrator_sees_the_review_and_has_it_signed() {
    let site = site();
    let Some(ada) = Visitor::enrolled(&site, "ada", "admin") else { return };
    let browser = &ada.browser;
    ada.go("review");
    browser.until("document.querySelectorAll('section table tbody tr').length > 3");
    let count = |selector: &str| {
        browser.eval(&format!("document.querySelectorAll({selector:?}).length")).as_u64().unwrap()
    };
    // States, and a link to each report.
    assert_eq!((count("ul.chips li"), count("a.button[download]")), (4, 2));
    let kept = browser.eval("fetch(document.querySelector('a.button').href).then((answer) => answer.text())");
    assert!(kept.as_str().unwrap().contains("<!-- signed by the archive: "), "no report");
    let polish = browser.eval("document.getElementById('language').click()");
    drop(polish);
    browser.until("document.querySelector('h1').textContent === 'Przegląd'");
    assert!(
        browser.eval("document.body.textContent").as_str().unwrap().contains("Kopie") || count("table") > 1
    );
    if let Some(axe) = axe() {
        accessible(browser, &axe, "review");
    }
    ada.is_clean();
}

/// What is drawn is of the quarter before, of which there are no captures: the log says here what was.
#[test]
fn a_reviewer_judges_samples_by_keyboard_alone() {
    let site = site();
    let Some(rita) = Visitor::enrolled(&site, "rita", "reviewer") else { return };
    let (ids, actor) = (site.world.records().iter().map(|record| record.id).collect::<Vec<_>>(), "user:rita");
    let quarter = Quarter::of(clock::now()).before();
    let drawn = Told::Drawn { quarter, reviewer: actor.into(), of: 9, ids: ids.clone() };
    let entry = Entry {
        schema: SCHEMA,
        at: clock::now(),
        actor: actor.into(),
        origin: "local".into(),
        action: Action::Sample,
        resource: Resource::User("rita".into()),
        reason: None,
        outcome: Outcome::Done(drawn.to_json()),
    };
    site.world.vault().log.write(&[entry]).unwrap();
    let browser = &rita.browser;
    rita.go("sampling");
    browser.until("document.activeElement.classList.contains('sample')");
    browser.picture("sampling");
    browser.key("2");
    let judged = "document.querySelectorAll('.sample [aria-pressed=true]').length";
    browser.until(&format!("{judged} === 1"));
    if ids.len() > 1 {
        // The next one has the focus.
        browser.until("document.activeElement === document.querySelectorAll('.sample')[1]");
        browser.key("1");
        browser.until(&format!("{judged} === 2"));
    }
    if let Some(axe) = axe() {
        accessible(browser, &axe, "sampling");
    }
    browser.eval("document.querySelector('.sample').focus()");
    browser.key("Enter");
    browser.until("document.querySelector('form.why') && document.querySelector('#verdict')");
    browser.picture("sampled-recording");
    rita.is_clean();
}
