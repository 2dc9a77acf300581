//! What is a change and what is none.

use super::*;

const OLD: &str = "forbear: 1
name: p
timezone: UTC
channels: { email: { consent: opt-out, cost: 0.5 }, sms: { consent: opt-in } }
classes: { marketing: { rank: 1, obeys: all, counts: true }, other: { rank: 2, obeys: [cap, gap], counts: true } }
rules:
  - { id: week, cap: { limit: 5, window: 7d }, for: { channel: email }, on-hit: defer }
  - { id: spacing, gap: 4h }
  - { id: trial, shadow: true, cap: { limit: 1, window: calendar-day } }
  - { id: gone, gap: 1h, for: { class: marketing } }
  - { id: open, send-window: { open: [ { days: mon-fri, from: \"08:00\", to: \"21:00\" } ] }, for: { channel: [email, sms] } }
exceptions: [ { id: recall, for: { campaign: recall }, rules: [week, spacing], until: 2026-12-31, owner: o, why: w } ]
calendars: { x: [2026-12-25] }
";

fn changes(old: &str, new: &str) -> String {
    let load = |text: &str| {
        let nothing = &mut |_: &str| Err("no".to_owned());
        let document = Document::read("p.yaml", text.as_bytes(), nothing).unwrap();
        let (policy, _) = Policy::compile(&document, None).unwrap();
        (document, policy)
    };
    let (old, new) = (load(old), load(new));
    text(&diff(
        Version {
            document: &old.0,
            policy: &old.1,
        },
        Version {
            document: &new.0,
            policy: &new.1,
        },
    ))
}

#[test]
fn every_change_says_what_it_does() {
    for (from, to, expected) in [
        (
            "limit: 5",
            "limit: 4",
            "rules\n  ~ week: cap.limit lowered: 5 → 4  (stricter)\n",
        ),
        (
            "limit: 5",
            "limit: unlimited",
            "  ~ week: cap.limit raised: 5 → unlimited  (looser)\n",
        ),
        (
            "window: 7d",
            "window: 5d",
            "  ~ week: cap.window shorter: 7d → 5d  (looser)\n",
        ),
        ("gap: 4h", "gap: 1d", "  ~ spacing: gap longer: 4h → 1d  (stricter)\n"),
        (
            "for: { channel: email }",
            "for: { channel: [email, sms] }",
            "  ~ week: for widened: { channel: email } → { channel: [email, sms] }  (stricter)\n",
        ),
        (
            ", for: { channel: email }, on-hit: defer",
            ", on-hit: defer",
            "  ~ week: for widened: { channel: email } → everything  (stricter)\n",
        ),
        (
            "gap: 4h }",
            "gap: 4h, for: { channel: sms } }",
            "  ~ spacing: for narrowed: everything → { channel: sms }  (looser)\n",
        ),
        (
            "on-hit: defer",
            "on-hit: suppress",
            "  ~ week: on-hit changed: defer → suppress  (stricter)\n",
        ),
        (
            "shadow: true, ",
            "",
            "  ~ trial: shadow changed: true → false  (stricter)\n",
        ),
        (
            "  - { id: gone, gap: 1h, for: { class: marketing } }\n",
            "  - { id: new, gap: 2h }\n",
            "  + new { id: new, gap: 2h }  (stricter)\n  - gone { id: gone, gap: 1h, for: { class: marketing } }  (looser)\n",
        ),
        (
            "email: { consent: opt-out,",
            "email: { consent: opt-in,",
            "channels\n  ~ email: consent changed: opt-out → opt-in  (stricter)\n",
        ),
        (
            "obeys: all",
            "obeys: [cap, gap]",
            "classes\n  ~ marketing: obeys narrowed: all → [cap, gap]  (looser)\n",
        ),
        (
            "to: \"21:00\"",
            "to: \"20:00\"",
            "  ~ open: send-window.open narrowed: [{ days: mon-fri, from: \"08:00\", to: \"21:00\" }] → [{ days: mon-fri, from: \"08:00\", to: \"20:00\" }]  (stricter)\n",
        ),
        (
            "days: mon-fri",
            "days: mon-sat",
            "  ~ open: send-window.open widened: [{ days: mon-fri, from: \"08:00\", to: \"21:00\" }] → [{ days: mon-sat, from: \"08:00\", to: \"21:00\" }]  (looser)\n",
        ),
        (
            "from: \"08:00\", to: \"21:00\"",
            "from: \"09:00\", to: \"22:00\"",
            "  ~ open: send-window.open changed: [{ days: mon-fri, from: \"08:00\", to: \"21:00\" }] → [{ days: mon-fri, from: \"09:00\", to: \"22:00\" }]\n",
        ),
        (
            "to: \"21:00\" } ]",
            "to: \"21:00\" } ], closed-on: x",
            "  + open: send-window.closed-on x  (stricter)\n",
        ),
        (
            "obeys: [cap, gap]",
            "obeys: [cap, gap, mix]",
            "  ~ other: obeys widened: [cap, gap] → [cap, gap, mix]  (stricter)\n",
        ),
        (
            "obeys: [cap, gap]",
            "obeys: [cap, spacing]",
            "  ~ other: obeys narrowed: [cap, gap] → [cap, spacing]  (looser)\n",
        ),
        (
            "until: 2026-12-31",
            "until: 2027-01-31",
            "exceptions\n  ~ recall: until longer: 2026-12-31 → 2027-01-31  (looser)\n",
        ),
        (
            "rules: [week, spacing]",
            "rules: [week]",
            "exceptions\n  ~ recall: rules narrowed: [week, spacing] → [week]  (stricter)\n",
        ),
        (
            "for: { campaign: recall }",
            "for: { campaign: [recall, news] }",
            "exceptions\n  ~ recall: for.campaign widened: recall → [recall, news]  (looser)\n",
        ),
        (
            "gap: 4h }",
            "gap: 4h, counts: { channel: email } }",
            "  ~ spacing: counts narrowed: nothing → { channel: email }  (looser)\n",
        ),
        (
            "gap: 4h }",
            "gap: 4h, per: [division] }",
            "  + spacing: per [division]  (looser)\n",
        ),
        (
            "timezone: UTC",
            "timezone: Europe/Lisbon",
            "timezone\n  ~ timezone changed: UTC → Europe/Lisbon\n",
        ),
        (
            "calendars:",
            "stops: [ { for: { channel: sms }, why: outage } ]\ncalendars:",
            "stops\n  + outage { for: { channel: sms }, why: outage }  (stricter)\n",
        ),
        (
            "[2026-12-25]",
            "[2026-12-25, 2026-12-26]",
            "calendars\n  ~ x widened: [2026-12-25] → [2026-12-25, 2026-12-26]  (stricter)\n",
        ),
    ] {
        let new = OLD.replacen(from, to, 1);
        assert_ne!(new, OLD, "{from}");
        let found = changes(OLD, &new);
        assert!(found.ends_with(expected), "expected {expected}\nfound {found}");
    }
}

#[test]
fn what_is_neither_more_nor_less_is_only_told_to_be_different() {
    for (old, new, expected) in [
        (
            "holdout: { percent: 2, salt: \"2026\" }",
            "holdout: { percent: 2, salt: \"2027\" }",
            "rules\n  ~ week: holdout.salt changed: \"2026\" → \"2027\"\n",
        ),
        (
            "sequence: { only: { channel: email }, if: { channel: sms }, within: 30d }",
            "sequence: { only: { channel: email }, if: { channel: sms }, within: 60d }",
            "rules\n  ~ week: sequence.within longer: 30d → 60d\n",
        ),
    ] {
        let policy = |kind: &str| OLD.replacen("cap: { limit: 5, window: 7d }", kind, 1);
        assert_eq!(changes(&policy(old), &policy(new)), expected);
    }
}

#[test]
fn what_means_the_same_is_no_change() {
    for (from, to) in [
        ("window: 7d", "window: 1w"),
        ("window: 7d", "window: 168h"),
        ("gap: 4h }", "gap: 4h, on-hit: suppress }"),
        ("channel: email", "channel: [email]"),
        ("{ id: spacing, gap: 4h }", "{ gap: 4h, id: spacing }"),
        ("calendars:", "stops: []\ncalendars:"),
        ("days: mon-fri", "days: [fri, mon, tue, wed, thu]"),
        ("[email, sms]", "[sms, email]"),
        ("cost: 0.5", "cost: 0.50"),
        ("obeys: [cap, gap]", "obeys: [gap, cap]"),
        ("name: p\ntimezone: UTC\n", "timezone: UTC\nname: p\n"),
    ] {
        let new = OLD.replacen(from, to, 1);
        assert_ne!(new, OLD, "{from}");
        assert_eq!(changes(OLD, &new), "", "{from} {to}");
    }
}
