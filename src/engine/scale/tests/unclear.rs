//! What isn't known takes nothing away, and adds nothing twice.

use proptest::prelude::*;

use super::*;

#[test]
fn nothing_goes_while_one_instance_is_silent() {
    let mut shop = Shop::new(3, terms());
    shop.tick_for(Span::mins(10));
    for _ in 0..400 {
        shop.pass(shop.terms.interval);
        let mut samples = shop.samples();
        samples.pop();
        shop.hear(&samples);
        shop.follow();
    }
    assert_eq!(shop.steps, NONE);
    let instance = *shop.serving.last().unwrap();
    assert_eq!(shop.ask().why, Why::Blind { instance });
}

#[test]
fn the_quiet_time_begins_anew_when_the_silence_ends() {
    let mut shop = Shop::new(3, terms());
    shop.tick_for(Span::mins(14));
    for _ in 0..8 {
        shop.pass(shop.terms.interval);
        shop.hear(&[]);
        shop.follow();
    }
    shop.tick_for(Span::mins(14));
    assert_eq!(shop.steps, NONE);
    shop.tick_for(Span::mins(2));
    assert_eq!(shop.steps, [2]);
}

#[test]
fn the_silence_of_one_is_silence() {
    let mut shop = Shop::new(10, terms());
    shop.tick_for(Span::mins(14));
    for _ in 0..8 {
        shop.pass(shop.terms.interval);
        let mut samples = shop.samples();
        samples.pop();
        shop.hear(&samples);
        shop.follow();
    }
    shop.tick_for(Span::mins(14));
    assert_eq!(shop.steps, NONE);
    shop.tick_for(Span::mins(2));
    assert_eq!(shop.steps, [9]);
}

#[test]
fn who_was_silent_may_have_had_a_whole_machine_to_do() {
    let mut shop = Shop::new(3, terms());
    shop.load = 8_400;
    shop.tick_for(Span::mins(3));
    for _ in 0..5 {
        shop.pass(shop.terms.interval);
        let mut samples = shop.samples();
        samples.pop();
        shop.hear(&samples);
    }
    let verdict = shop.tick();
    // 28 % of each; and a round before, one was not heard.
    let load = Share::percent(40);
    assert!(
        matches!(verdict.why, Why::Busy { load: is, .. } if is == load),
        "{}",
        verdict.why
    );
}

#[test]
fn load_that_was_too_high_a_minute_ago_adds_nothing() {
    let mut shop = Shop::new(2, Terms { max: 2, ..terms() });
    shop.load = 20_000;
    let verdict = shop.tick_for(Span::mins(3));
    assert!(matches!(verdict.why, Why::Full { .. }), "{}", verdict.why);
    shop.terms.max = 9;
    assert_eq!(shop.ask().wanted, 3);
    shop.pass(Span::secs(46));
    assert_eq!(shop.ask().wanted, 2);
}

#[test]
fn a_clock_that_is_set_right_by_seconds_forgets_nothing() {
    let mut shop = Shop::new(3, terms());
    for _ in 0..15 {
        shop.tick_for(Span::mins(1));
        shop.now = shop.now - Span::secs(2);
        shop.hear(&[]);
    }
    shop.tick_for(Span::mins(2));
    assert_eq!(shop.steps, [2]);
}

#[test]
fn one_lost_look_is_no_silence() {
    let mut shop = Shop::new(3, terms());
    for _ in 0..20 {
        shop.tick_for(Span::mins(1));
        shop.pass(shop.terms.interval);
        shop.hear(&[]);
        shop.follow();
    }
    assert!(!shop.steps.is_empty());
}

#[test]
fn old_samples_add_nothing_twice() {
    let mut shop = Shop::new(2, terms());
    (shop.load, shop.boot) = (20_000, Span::ZERO);
    shop.tick_for(Span::mins(3));
    assert_eq!(shop.steps, [3]);
    let last = shop.samples();
    for _ in 0..100 {
        shop.pass(shop.terms.interval);
        shop.hear(&last);
        shop.follow();
    }
    assert_eq!(shop.steps, [3]);
}

#[test]
fn those_that_speak_are_enough_where_they_alone_need_more() {
    let mut shop = Shop::new(3, terms());
    shop.load = 30_000;
    for _ in 0..40 {
        shop.pass(shop.terms.interval);
        let mut samples = shop.samples();
        samples.pop();
        shop.hear(&samples);
        shop.ask();
    }
    // Two whole machines, and the third counted as idle: 2.0 / 0.7.
    assert_eq!(shop.ask().wanted, 3);
    shop.serving
        .push(InstanceId::Clone(CloneId::new(9, 9).unwrap()));
    shop.load = 40_000;
    for _ in 0..40 {
        shop.pass(shop.terms.interval);
        let mut samples = shop.samples();
        samples.pop();
        shop.hear(&samples);
        shop.ask();
    }
    assert_eq!(shop.ask().wanted, 5);
}

#[test]
fn the_start_of_an_instance_is_not_its_load() {
    let mut shop = Shop::new(2, terms());
    shop.load = 2_000;
    shop.tick_for(Span::mins(5));
    shop.open_one();
    for _ in 0..3 {
        shop.pass(shop.terms.interval);
        let mut samples = shop.samples();
        samples[2].busy = Share::WHOLE;
        shop.hear(&samples);
        let verdict = shop.follow();
        let instance = shop.serving[2];
        assert_eq!(verdict.why, Why::Settling { instance });
    }
    shop.tick_for(Span::mins(5));
    assert_eq!(shop.steps, NONE);
}

#[test]
fn samples_of_strangers_of_the_future_and_of_long_ago_count_for_nothing() {
    let mut shop = Shop::new(1, terms());
    shop.tick_for(Span::mins(3));
    let before = format!("{:?}", shop.scaler);
    let clone = InstanceId::Clone(CloneId::new(7, 7).unwrap());
    let sample = |instance, at| Sample {
        instance,
        at,
        busy: Share::WHOLE,
    };
    let (now, old) = (shop.now, shop.now - Span::secs(46));
    let strange = [
        sample(clone, now),
        sample(InstanceId::Seed, now + Span(1)),
        sample(InstanceId::Seed, old),
        sample(InstanceId::Seed, now),
    ];
    shop.hear(&strange);
    assert_eq!(format!("{:?}", shop.scaler), before);
}

#[test]
fn a_clock_that_jumps_back_starts_everything_anew() {
    let mut shop = Shop::new(3, terms());
    shop.tick_for(Span::mins(14));
    shop.now = shop.now - Span::mins(60);
    shop.tick_for(Span::mins(15));
    assert_eq!(shop.steps, NONE);
    shop.tick_for(Span::mins(2));
    assert_eq!(shop.steps, [2]);
}

#[test]
fn a_new_owner_keeps_the_number_that_it_finds() {
    let mut shop = Shop::new(4, terms());
    shop.load = 10_000;
    assert_eq!(shop.ask().wanted, 4);
    assert_eq!(shop.tick_for(Span::mins(2)).wanted, 4);
}

#[test]
fn nothing_goes_while_one_leaves() {
    let mut shop = Shop::new(3, terms());
    for _ in 0..400 {
        shop.pass(shop.terms.interval);
        let (now, terms, samples) = (shop.now, shop.terms, shop.samples());
        let crew = Crew {
            serving: &shop.serving,
            starting: 0,
            leaving: 1,
        };
        shop.scaler.measured(&samples, &crew, now, &terms);
        assert_eq!(shop.scaler.decide(now, &crew, &terms).wanted, 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Samples are lost, doubled and late, instances come and die, the load does what it likes.
    #[test]
    fn nothing_goes_without_a_fresh_sample_of_everyone(
        looks in prop::collection::vec((0_u64..40_000, any::<[bool; 4]>(), 0_u64..100, 0_u8..40), 100..400),
        by_projection: bool,
    ) {
        let terms = if by_projection { projected() } else { terms() };
        let mut shop = Shop::new(4, Terms { max: 9, down_window: Span::mins(3), ..terms });
        let mut spoke = std::collections::BTreeMap::new();
        let mut late: Vec<Sample> = Vec::new();
        for (load, heard, seconds, fate) in looks {
            (shop.load, shop.boot) = (load, Span::secs(seconds * 3));
            shop.pass(Span::secs(10 + seconds % 15));
            let mut samples = shop.samples();
            let mut nth = 0;
            samples.retain(|_| { nth += 1; heard[nth % 4] || nth > 2 || fate > 3 });
            samples.extend(late.iter().copied().take(usize::from(fate % 5)));
            late = shop.samples();
            samples.reverse();
            for sample in &samples {
                let at = spoke.entry(sample.instance).or_insert(sample.at);
                *at = sample.at.max(*at);
            }
            shop.hear(&samples);
            let (before, now) = (shop.serving.clone(), shop.now);
            let have = shop.have();
            let twice = (shop.ask().wanted, shop.ask().wanted);
            let wanted = shop.follow().wanted;
            prop_assert_eq!(twice, (wanted, twice.0), "asked again it says the same");
            if wanted < have {
                prop_assert_eq!(wanted, have - 1);
                for instance in before {
                    let at = spoke.get(&instance).copied().unwrap_or_default();
                    prop_assert!(now.since(at) <= terms.stale_after());
                }
            }
            if fate == 0 && shop.serving.len() > 1 {
                shop.serving.remove(0);
            }
        }
    }
}
