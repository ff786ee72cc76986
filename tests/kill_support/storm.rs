//! Many clients at once, until the gateway fails them; and what must hold afterwards.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::channel;

use super::{Answer, Request, Upstream};

const CLIENTS: usize = 16;

/// What clients were told, storm after storm.
#[derive(Default)]
pub struct Storm {
    storms: u32,
    /// For each request since the store was opened, the response that somebody has.
    outcomes: HashMap<Request, Option<Answer>>,
    in_doubt: Vec<Request>,
}

impl Storm {
    /// Lets clients send requests of their own, and some alike, until each met a gateway that is
    /// gone or cannot go on. `answered` is told of each answer, with their number so far.
    pub fn rage(
        &mut self,
        gateway: SocketAddr,
        rng: &mut fastrand::Rng,
        mut answered: impl FnMut(usize),
    ) {
        let (storm, (heard, hear)) = (self.storms, channel());
        self.storms += 1;
        for client in 0..CLIENTS {
            let (mut rng, heard) = (rng.fork(), heard.clone());
            std::thread::spawn(move || {
                for i in 0_u32.. {
                    let key = match rng.u8(..3) {
                        0 => format!("same-{storm}-{}", i / 4),
                        _ => format!("own-{storm}-{client}-{i}"),
                    };
                    let request = Request::new(key, 201, 300);
                    let answer = request.send(gateway);
                    let failed = answer.as_ref().is_none_or(|answer| answer.status >= 500);
                    if heard.send((request, answer)).is_err() || failed {
                        return;
                    }
                }
            });
        }
        drop(heard);
        for (seen, (request, answer)) in hear.iter().enumerate() {
            answered(seen + 1);
            self.note(request, answer);
        }
    }

    /// Notes what a client was told, which agrees with what others were told.
    fn note(&mut self, request: Request, answer: Option<Answer>) {
        let known = self.outcomes.entry(request).or_default();
        let Some(answer) = answer else { return };
        let nothing = [
            (409, "in-progress"),
            (409, "outcome-unknown"),
            (500, "outcome-unknown"),
            (503, "store-unavailable"),
        ];
        if nothing.iter().any(|(status, code)| answer.refuses(*status, code)) {
            return;
        }
        assert_eq!(answer.status, 201, "{answer:?}");
        // Which of two clients heard first does not show from outside.
        let answer = answer.unmarked();
        match known {
            None => *known = Some(answer),
            Some(first) => assert_eq!(*first, answer),
        }
    }

    /// Asks for everything again, of a gateway that was started since the last storm.
    pub fn settled(&mut self, gateway: SocketAddr, upstream: &Upstream) {
        for (request, first) in self.outcomes.drain() {
            let again = request.answer(gateway);
            if let Some(first) = first {
                assert!(again.replays(&first), "{request:?}:\n{first:?}\n{again:?}");
            } else if again.refuses(409, "outcome-unknown") {
                self.in_doubt.push(request);
            } else {
                assert_eq!(again.status, 201, "{request:?}: {again:?}");
                assert_eq!(upstream.runs(&request), 1, "{request:?}");
            }
        }
        for request in &self.in_doubt {
            let again = request.answer(gateway);
            assert!(again.refuses(409, "outcome-unknown"), "{request:?}: {again:?}");
            assert!(upstream.runs(request) <= 1, "{request:?}");
        }
    }
}
