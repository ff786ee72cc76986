//! Frames and groups: any octets read without a panic, what was written reads back, and a bit that
//! turned is refused.

use onceward::fuzzing::{read_frame, read_group, write_frame, write_group};

pub(crate) fn run(data: &[u8]) {
    let Some((head, rest)) = data.split_at_checked(6) else { return };
    let number = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let (bit, place) = (number as usize, u64::from(number) << 3);
    read_frame(rest, number);
    read_group(rest, place);
    write_group(rest, bit, place);
    let scope = &rest[..rest.len().min(usize::from(head[4]))];
    let key = &rest[scope.len()..];
    let key = &key[..key.len().min(usize::from(head[5]))];
    write_frame(rest, scope, key, bit, place);
}
