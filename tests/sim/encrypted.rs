//! The same crashes, faults and damage on stores that are encrypted: their keys are there when they
//! come back, and what rots in them is refused.

use crate::ASIDE_ONE_IN;
use crate::damage;
use crate::many::{each_seed, hold};
use crate::script::Script;
use crate::world::encrypt;

#[test]
fn p0_holds_for_encrypted_stores() {
    encrypt(true);
    let tally = each_seed(200, |seed| hold(&Script::draw(seed).with_asides(ASIDE_ONE_IN)));
    assert!(tally.crashes * 10 >= tally.scripts, "{tally:?}");
}

#[test]
fn p0_holds_wherever_making_an_encrypted_store_is_cut_off() {
    encrypt(true);
    crate::p0_holds_wherever_making_a_store_is_cut_off();
}

#[test]
fn p0_holds_at_every_crash_point_of_an_encrypted_store() {
    encrypt(true);
    let tally = crate::every_crash_point(1);
    assert!(tally.crashes > 0, "{tally:?}");
}

#[test]
fn c35_one_failed_call_costs_an_encrypted_store_at_most_the_writes() {
    encrypt(true);
    crate::every_failed_call(1);
}

#[test]
fn a_bit_that_turned_in_an_encrypted_store_is_refused() {
    encrypt(true);
    damage::flip_bits(3_000);
}

#[test]
fn every_prefix_of_an_encrypted_file_is_refused_or_right() {
    encrypt(true);
    damage::every_prefix_of_a_file_is_refused_or_right();
}
