//! Decides which faults a request meets.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::civil::Date;

use super::fault::{Action, Fault, Layer};
use super::log::Endpoint;

/// What a fault can look at.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) from_date: Option<Date>,
    pub(super) page: Option<u64>,
    /// The window or page; equal for a request and its retry.
    pub(super) window: String,
}

/// The faults of one request, at most one a layer.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) delay: Option<Duration>,
    pub(super) refusal: Option<Action>,
    pub(super) text: Option<Action>,
    pub(super) wire: Option<Action>,
    /// The faults in their text form.
    pub(super) names: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Injector {
    rules: Mutex<Vec<Rule>>,
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    /// Requests to the endpoint.
    seen: u32,
    /// Requests that matched, spared ones included.
    matched: u32,
    happened: u32,
    /// Answers by window, for faults that depend on it.
    windows: HashMap<String, u32>,
}

impl Injector {
    pub(super) fn add(&self, fault: Fault) {
        self.lock().push(Rule {
            fault,
            seen: 0,
            matched: 0,
            happened: 0,
            windows: HashMap::new(),
        });
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Chooses the faults of a request and counts them as happened.
    pub(super) fn plan(&self, target: &Target) -> Plan {
        let mut plan = Plan::default();
        let mut rules = self.lock();
        for rule in rules.iter_mut() {
            rule.see(target);
        }
        for layer in [Layer::Delay, Layer::Refusal, Layer::Text, Layer::Wire] {
            let of_layer = rules
                .iter_mut()
                .filter(|rule| rule.fault.action.layer() == layer);
            // `find` stops at the first one, so that the others are not used up.
            let Some(rule) = { of_layer }.find_map(|rule| rule.happens_to(target)) else {
                continue;
            };
            let action = rule.fault.action.clone();
            let is_first = rule.count_window(target) == 1;
            if action == Action::DifferentOnRetry && is_first {
                continue;
            }
            plan.names.push(rule.fault.to_string());
            match (layer, action) {
                (Layer::Delay, Action::SlowFirstByte(wait)) => plan.delay = Some(wait),
                (Layer::Refusal, action) => {
                    plan.refusal = Some(action);
                    break;
                }
                (Layer::Text, action) => plan.text = Some(action),
                (_, action) => plan.wire = Some(action),
            }
        }
        plan
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    fn see(&mut self, target: &Target) {
        let wanted = self.fault.when.endpoint;
        self.seen += u32::from(wanted.is_none_or(|endpoint| endpoint == target.endpoint));
    }

    fn happens_to(&mut self, target: &Target) -> Option<&mut Self> {
        let when = &self.fault.when;
        let matches = self.fault.action.applies_to(target.endpoint)
            && when.endpoint.is_none_or(|wanted| wanted == target.endpoint)
            && when
                .from_date
                .is_none_or(|wanted| Some(wanted) == target.from_date)
            && when.page.is_none_or(|wanted| Some(wanted) == target.page)
            && when.nth.is_none_or(|wanted| wanted == self.seen);
        if !matches {
            return None;
        }
        self.matched += 1;
        let is_spent = self.fault.times.is_some_and(|times| self.happened >= times);
        if self.matched <= when.skip || is_spent {
            return None;
        }
        self.happened += 1;
        Some(self)
    }

    fn count_window(&mut self, target: &Target) -> u32 {
        let count = self.windows.entry(target.window.clone()).or_default();
        *count += 1;
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn injector(rules: &[&str]) -> Injector {
        let injector = Injector::default();
        for rule in rules {
            injector.add(Fault::parse(rule).unwrap());
        }
        injector
    }

    fn export(day: i8) -> Target {
        Target {
            endpoint: Endpoint::Export,
            from_date: Some(date(2024, 1, day)),
            page: None,
            window: day.to_string(),
        }
    }

    fn engage(page: u64) -> Target {
        Target {
            endpoint: Endpoint::Engage,
            from_date: None,
            page: Some(page),
            window: page.to_string(),
        }
    }

    #[test]
    fn a_fault_happens_as_often_as_it_says() {
        let injector = injector(&["export times=2 drop"]);
        let refused = |_| injector.plan(&export(1)).refusal.is_some();
        assert_eq!([0; 3].map(refused), [true, true, false]);
    }

    #[test]
    fn conditions_must_all_hold() {
        let injector = injector(&[
            "export from=2024-01-02 always drop",
            "engage page=1 always drop",
        ]);
        let refused = |target| injector.plan(&target).refusal.is_some();
        assert!(!refused(export(1)));
        assert!(refused(export(2)));
        assert!(!refused(engage(0)));
        assert!(refused(engage(1)));
    }

    #[test]
    fn requests_are_counted_by_endpoint() {
        let injector = injector(&["export nth=2 drop", "export skip=2 drop"]);
        let refused = |_| {
            injector.plan(&engage(0));
            injector.plan(&export(1)).names
        };
        let expected = [
            vec![],
            vec!["export nth=2 drop"],
            vec![],
            vec!["export skip=2 drop"],
        ];
        assert_eq!([0; 4].map(refused), expected);
    }

    #[test]
    fn layers_combine_and_a_refusal_ends_them() {
        let injector = injector(&[
            "export cut=0.5",
            "export nth=1 drop",
            "export crlf",
            "export always slow_first_byte=1ms",
        ]);
        let plan = injector.plan(&export(1));
        assert!(plan.delay.is_some() && plan.refusal.is_some() && plan.wire.is_none());
        let plan = injector.plan(&export(1));
        assert_eq!(plan.names.len(), 3);
        assert!(plan.text.is_some() && plan.wire.is_some());
    }

    #[test]
    fn the_first_of_a_layer_leaves_the_second_for_later() {
        let injector = injector(&["export crlf", "export bom"]);
        assert_eq!(injector.plan(&export(1)).text, Some(Action::Crlf));
        assert_eq!(injector.plan(&export(1)).text, Some(Action::Bom));
    }

    #[test]
    fn a_retry_is_different_and_other_windows_are_not() {
        let injector = injector(&["export always different_on_retry"]);
        assert_eq!(injector.plan(&export(1)).text, None);
        assert_eq!(injector.plan(&export(2)).text, None);
        assert_eq!(
            injector.plan(&export(1)).text,
            Some(Action::DifferentOnRetry)
        );
    }
}
