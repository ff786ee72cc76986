//! The same crashes, faults and damage on a store that is encrypted: its keys are there when it
//! comes back, and what rots in them is refused.

use crate::damage;
use crate::world::encrypt;

#[test]
fn every_operation_of_an_encrypted_store_is_a_crash_point() {
    encrypt();
    crate::crash_points(15, 600);
}

#[test]
fn an_encrypted_store_is_made_whole_or_not_at_all() {
    encrypt();
    crate::a_store_is_made_whole_or_not_at_all();
}

#[test]
fn one_failed_operation_costs_an_encrypted_store_at_most_the_writes() {
    encrypt();
    crate::failed_operations(1);
}

#[test]
fn a_full_disk_refuses_an_encrypted_store_new_claims_alone() {
    encrypt();
    crate::a_full_disk_refuses_new_claims_alone();
}

#[test]
fn a_bit_that_turned_in_an_encrypted_store_is_refused() {
    encrypt();
    damage::a_bit_that_turned_is_refused_and_never_answered();
}

#[test]
fn every_prefix_of_an_encrypted_file_is_refused_or_right() {
    encrypt();
    damage::every_prefix_of_a_file_is_refused_or_right();
}
