#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const BUCKET: &str = "photos";

fn object(key: &str, etag: &str, modified_ms: u64) -> Listed {
    Listed { key: key.to_owned(), etag: format!("\"{etag}\""), modified_ms, size: 1 }
}

fn created(key: &str, etag: &str, modified_ms: u64) -> Notice {
    let version = Version { etag: etag.to_owned(), modified_ms };
    Notice::Created { key: key.to_owned(), version }
}

fn removed(key: &str, removed_ms: u64) -> Notice {
    Notice::Removed { key: key.to_owned(), removed_ms }
}

/// Takes a notification in and returns how many events it made.
fn first(listed: &[Listed], began_ms: u64) -> Inventory {
    let mut inventory = Inventory::new(began_ms);
    listed.iter().for_each(|object| inventory.found_first(object));
    inventory
}

fn tell(inventory: &mut Inventory, notice: &Notice) -> usize {
    let news = inventory.notified(BUCKET, notice);
    news.iter().for_each(|news| inventory.apply(news));
    news.iter().count()
}

fn list(inventory: &mut Inventory, listed: &[Listed], at_ms: u64) -> usize {
    let mut events = 0;
    for object in listed {
        let news = inventory.listed(BUCKET, object);
        news.iter().for_each(|news| inventory.apply(news));
        events += news.iter().count();
    }
    let is_listed = |key: &str| listed.iter().any(|object| object.key == key);
    let absent: Vec<String> = inventory.not_in(is_listed).map(str::to_owned).collect();
    for key in absent {
        let news = inventory.absent(BUCKET, &key, at_ms);
        news.iter().for_each(|news| inventory.apply(news));
        events += news.iter().count();
    }
    events
}

#[test]
fn the_first_list_and_what_was_before_it_are_no_events() {
    let mut inventory = first(&[object("a", "1", 50)], 100);
    assert_eq!(list(&mut inventory, &[object("a", "1", 50)], 110), 0);
    assert_eq!(tell(&mut inventory, &created("a", "1", 50)), 0);
    assert_eq!(tell(&mut inventory, &created("b", "1", 99)), 0);
    assert_eq!(tell(&mut inventory, &removed("b", 99)), 0);
    assert_eq!(tell(&mut inventory, &created("b", "1", 100)), 1);
}

#[test]
fn both_ways_make_one_event_of_one_change() {
    let mut inventory = first(&[], 0);
    assert_eq!(tell(&mut inventory, &created("a", "1", 10)), 1);
    assert_eq!(list(&mut inventory, &[object("a", "1", 10)], 20), 0);
    assert_eq!(tell(&mut inventory, &removed("a", 30)), 1);
    assert_eq!(list(&mut inventory, &[], 40), 0);
    assert_eq!(list(&mut inventory, &[object("b", "1", 50)], 60), 1);
    assert_eq!(tell(&mut inventory, &created("b", "1", 50)), 0);
    assert_eq!(list(&mut inventory, &[], 80), 1);
    assert_eq!(tell(&mut inventory, &removed("b", 70)), 0);
}

#[test]
fn what_is_told_twice_is_one_event_even_when_much_has_happened_since() {
    let mut inventory = first(&[], 0);
    let story = [created("a", "1", 10), removed("a", 20), created("a", "1", 30), removed("a", 40)];
    for notice in &story {
        assert_eq!(tell(&mut inventory, notice), 1, "{notice:?}");
    }
    for notice in &story {
        assert_eq!(tell(&mut inventory, notice), 0, "{notice:?}");
    }
}

/// A list sees only that the first version is gone; the notifications come later.
#[test]
fn notifications_add_what_a_list_collapsed() {
    let mut inventory = first(&[object("a", "1", 10)], 11);
    assert_eq!(list(&mut inventory, &[], 100), 1);
    assert_eq!(tell(&mut inventory, &removed("a", 20)), 0);
    assert_eq!(tell(&mut inventory, &created("a", "2", 30)), 1);
    assert_eq!(tell(&mut inventory, &removed("a", 40)), 1);
    assert_eq!(list(&mut inventory, &[], 110), 0);
    // The same with a newer version in the list.
    assert_eq!(list(&mut inventory, &[object("b", "3", 130)], 140), 1);
    assert_eq!(tell(&mut inventory, &created("b", "1", 110)), 1);
    assert_eq!(tell(&mut inventory, &removed("b", 120)), 1);
    assert_eq!(tell(&mut inventory, &created("b", "3", 130)), 0);
    assert_eq!(list(&mut inventory, &[object("b", "3", 130)], 150), 0);
}

#[test]
fn a_removal_that_overtakes_its_upload_leaves_nothing_behind() {
    let mut inventory = first(&[], 0);
    assert_eq!(tell(&mut inventory, &removed("a", 20)), 1);
    assert_eq!(tell(&mut inventory, &created("a", "1", 10)), 1);
    // The upload is known although it is over: the next list sees that it is not there.
    assert!(list(&mut inventory, &[], 30) <= 1);
    assert_eq!(list(&mut inventory, &[], 40), 0);
}

#[test]
fn memory_is_bounded() {
    let mut inventory = first(&[], 0);
    for n in 0..(MAX_SEEN + 10) as u64 {
        inventory.apply(&News {
            id: n.to_string(),
            alias: None,
            key: n.to_string(),
            effect: Effect::Missing(n),
        });
    }
    assert_eq!(inventory.seen.order.len(), MAX_SEEN);
    assert_eq!(inventory.seen.ids.len(), MAX_SEEN);
    assert!(inventory.missing.len() <= MAX_REMOVED);
    let json = serde_json::to_vec(&inventory).unwrap();
    assert_eq!(serde_json::from_slice::<Inventory>(&json).unwrap().weighed(), inventory);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Remove(u8),
    /// Lets so many of the notifications that wait come, the last one of them twice.
    Deliver(usize),
    List,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..4u8).prop_map(Step::Put),
        2 => (0..4u8).prop_map(Step::Remove),
        2 => (1..5usize).prop_map(Step::Deliver),
        1 => Just(Step::List),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// Whatever is interleaved how: each upload and each removal is exactly one event once all
    /// notifications have come, and a restart from what is durable changes nothing.
    #[test]
    fn every_change_is_one_event(steps in steps(), restart_at in 0..60usize) {
        let mut inventory = first(&[], 0);
        let mut bucket: HashMap<String, Listed> = HashMap::new();
        let mut waiting = VecDeque::new();
        let (mut now, mut changes, mut events) = (0, 0, 0);
        let steps = steps.into_iter().chain([Step::Deliver(1_000), Step::List]);
        for (n, step) in steps.enumerate() {
            now += 10;
            if n == restart_at {
                let json = serde_json::to_vec(&inventory).unwrap();
                inventory = serde_json::from_slice::<Inventory>(&json).unwrap().weighed();
            }
            match step {
                Step::Put(key) => {
                    let key = key.to_string();
                    bucket.insert(key.clone(), object(&key, "e", now));
                    waiting.push_back(created(&key, "e", now));
                    changes += 1;
                }
                Step::Remove(key) => {
                    let key = key.to_string();
                    if bucket.remove(&key).is_some() {
                        waiting.push_back(removed(&key, now));
                        changes += 1;
                    }
                }
                Step::Deliver(count) => {
                    for notice in waiting.drain(..count.min(waiting.len())) {
                        events += tell(&mut inventory, &notice);
                        events += tell(&mut inventory, &notice);
                    }
                }
                Step::List => {
                    let listed: Vec<Listed> = bucket.values().cloned().collect();
                    events += list(&mut inventory, &listed, now);
                }
            }
        }
        prop_assert_eq!(events, changes);
        prop_assert_eq!(inventory.len(), bucket.len());
        prop_assert_eq!(inventory.bytes(), inventory.clone().weighed().bytes());
    }
}
