//! A policy that is replaced while records flow.

use crate::harness::wait_until;
use crate::member::Member;
use crate::policies;
use crate::require_broker;
use crate::scene::{PATIENCE, Scene};
use std::time::Duration;

#[test]
fn a_policy_replaced_under_load_judges_from_then_on_and_a_bad_one_never_does() {
    require_broker!();
    let (old, new) = (policies::brisk(), policies::brisker());
    let mut scene = Scene::new("replaced", &old);
    scene.policies.push(new.clone());
    let mut member = Member::start(&scene.instance(0));
    scene.wait_until_running(&mut [&mut member]);
    let load = scene.load("a", 10).run(100, Duration::from_millis(100));
    scene.wait_for_verdicts(100);
    member.process.replace_policy("forbear: 1\nname: [broken\n");
    let reloads =
        |member: &Member, outcome: &str| member.metric("forbear_policy_reloads_total", &[("outcome", outcome)]);
    wait_until("the bad policy is refused", PATIENCE, || {
        reloads(&member, "error") > 0.0
    });
    let label = |member: &Member| {
        member
            .readiness()
            .and_then(|body| Some(body["policy"].as_str()?.to_owned()))
    };
    assert_eq!(label(&member), Some(old.label.clone()), "the old policy stays");
    // A channel without topics is as bad.
    let homeless = new.text.replace("push: {", "fax: { consent: opt-out }\n  push: {");
    member.process.replace_policy(&homeless);
    wait_until("a channel without topics is refused", PATIENCE, || {
        reloads(&member, "error") > 1.0
    });
    assert_eq!(label(&member), Some(old.label.clone()), "the old policy stays");
    member.process.replace_policy(&new.text);
    wait_until("the new policy judges", PATIENCE, || {
        label(&member) == Some(new.label.clone())
    });
    assert_eq!(reloads(&member, "success"), 1.0);
    load.join().expect("the load");
    let mut last = scene.load("b", 11);
    last.round();
    last.flush();
    let at_rest = scene.audit(&mut [&mut member]);
    let named = |label: &str| {
        let decisions = at_rest.records(&scene.topics.decisions).iter();
        let text = decisions.filter_map(|record| record.value.as_deref().map(String::from_utf8_lossy));
        text.filter(|text| text.contains(label)).count()
    };
    println!(
        "decisions under the old policy: {}, under the new one: {}",
        named(&old.label),
        named(&new.label)
    );
    assert!(named(&old.label) > 0 && named(&new.label) > 0, "both policies judged");
    let texts: Vec<_> = at_rest
        .records(&scene.topics.policies)
        .iter()
        .filter_map(|record| record.value.as_deref())
        .collect();
    assert!(
        texts.contains(&old.text.as_bytes()) && texts.contains(&new.text.as_bytes()),
        "both texts are kept"
    );
    assert!(!texts.contains(&homeless.as_bytes()), "what never judged is not there");
}
