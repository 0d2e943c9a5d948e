//! The one way in which anything is measured here: side by side, round by round, as ratios.
//!
//! All lanes of a group run in the same process and take turns: each round runs every lane once, in an order
//! that changes from round to round, so that whatever slows the machine for a while slows all of them. A round
//! gives one ratio per comparison; what is judged is the median of those ratios, or rather the bound below
//! which it lies with 95% confidence.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Whose;
use crate::counting::{counted, told};

/// How long and how often each lane runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
    /// How often everything is measured; see [`calmer`].
    pub(crate) passes: usize,
}

impl Pace {
    /// For figures that are quoted.
    pub(crate) const FULL: Self = Self { rounds: 41, round: Duration::from_millis(5), passes: 3 };
    /// For a look; the fewest rounds that give a bound worth naming.
    pub(crate) const QUICK: Self = Self { rounds: 21, round: Duration::from_millis(1), passes: 1 };

    /// How many batches a lane runs at most when its iterations are fixed: one to warm up, and the rounds. Counting
    /// takes two.
    pub(crate) const fn batches(self) -> usize {
        self.rounds + 1
    }
}

/// One thing that is measured.
pub(crate) struct Lane {
    name: String,
    prepare: Box<dyn FnMut(usize)>,
    run: Box<dyn FnMut(usize)>,
    fixed: Option<usize>,
}

impl Lane {
    /// An operation without input.
    pub(crate) fn new(name: impl Into<String>, mut operation: impl FnMut() + 'static) -> Self {
        let run = move |iterations| (0..iterations).for_each(|_| operation());
        Self { name: name.into(), prepare: Box::new(|_| ()), run: Box::new(run), fixed: None }
    }

    /// Something that repeats itself as often as it is told.
    pub(crate) fn whole(name: impl Into<String>, run: impl FnMut(usize) + 'static) -> Self {
        Self { name: name.into(), prepare: Box::new(|_| ()), run: Box::new(run), fixed: None }
    }

    /// An operation that looks at its input, which is made, and dropped, outside the measured time.
    pub(crate) fn over_input<I: 'static>(
        name: impl Into<String>,
        mut make: impl FnMut() -> I + 'static,
        mut operation: impl FnMut(&I) + 'static,
    ) -> Self {
        let made = Rc::new(RefCell::new(Vec::new()));
        let inputs = made.clone();
        let prepare = move |iterations| {
            let mut made = made.borrow_mut();
            made.clear();
            made.extend((0..iterations).map(|_| make()));
        };
        let run = move |_| inputs.borrow().iter().for_each(&mut operation);
        Self { name: name.into(), prepare: Box::new(prepare), run: Box::new(run), fixed: None }
    }

    /// Also does this before each batch, outside the measured time.
    pub(crate) fn after(mut self, mut before: impl FnMut() + 'static) -> Self {
        let mut prepare = self.prepare;
        self.prepare = Box::new(move |iterations| {
            before();
            prepare(iterations);
        });
        self
    }

    /// Runs this often in each round, whatever the pace says.
    pub(crate) fn fixed(mut self, iterations: usize) -> Self {
        self.fixed = Some(iterations);
        self
    }

    fn batch(&mut self, clock: Whose, iterations: usize) -> Duration {
        (self.prepare)(iterations);
        let before = clock.spent();
        (self.run)(iterations);
        clock.spent().saturating_sub(before)
    }

    /// As many iterations as fill a round; the lane is warm afterwards.
    fn calibrate(&mut self, clock: Whose, pace: Pace) -> usize {
        if let Some(iterations) = self.fixed {
            self.batch(clock, iterations);
            return iterations;
        }
        let mut iterations = 1;
        loop {
            // The first times are slow, and now and then one is held up: a batch that seems long enough would be
            // too short, and its lane measured colder than the others.
            let spent = (0..3).map(|_| self.batch(clock, iterations)).min().unwrap_or_default();
            let fitting = iterations as f64 * pace.round.as_secs_f64() / spent.as_secs_f64().max(1e-9);
            if fitting <= iterations as f64 * 1.1 {
                return (fitting.ceil() as usize).max(1);
            }
            iterations = (iterations * 4).min(fitting.ceil() as usize);
        }
    }
}

/// A lane against a floor, and what it may cost.
pub(crate) struct Comparison {
    path: String,
    lane: usize,
    over: Option<usize>,
    floor: usize,
    budget: Option<f64>,
    counts: bool,
    allocations_budget: Option<f64>,
}

/// Lanes that take turns.
pub(crate) struct Group {
    clock: Whose,
    lanes: Vec<Lane>,
    comparisons: Vec<Comparison>,
    counted: Vec<Row>,
}

impl Group {
    pub(crate) fn new(clock: Whose) -> Self {
        Self { clock, lanes: Vec::new(), comparisons: Vec::new(), counted: Vec::new() }
    }

    /// Adds a lane, and returns the number under which comparisons name it.
    pub(crate) fn lane(&mut self, lane: Lane) -> usize {
        self.lanes.push(lane);
        self.lanes.len() - 1
    }

    /// `lane` must cost at most `budget` times `floor`; without a budget the ratio is only shown.
    pub(crate) fn compare(
        &mut self,
        path: impl Into<String>,
        lane: usize,
        floor: usize,
        budget: impl Into<Option<f64>>,
    ) -> &mut Comparison {
        self.comparisons.push(Comparison {
            path: path.into(),
            lane,
            over: None,
            floor,
            budget: budget.into(),
            counts: false,
            allocations_budget: None,
        });
        let last = self.comparisons.len() - 1;
        &mut self.comparisons[last]
    }
}

impl Group {
    /// Adds what was counted once and takes no turns, such as bytes: so many, against so many that are allowed.
    /// What only the other program can count is taken from there.
    pub(crate) fn count(
        &mut self,
        path: &str,
        subject: &str,
        unit: &'static str,
        found: Option<f64>,
        against: (&str, f64),
    ) {
        let Some(found) = found.or_else(|| told(path)) else { return };
        let (floor, most) = against;
        self.counted.push(Row {
            path: path.to_owned(),
            subject: subject.to_owned(),
            floor: floor.to_owned(),
            unit: unit.to_owned(),
            ratio: found / most,
            low: found / most,
            high: found / most,
            budget: Some(1.0),
            subject_value: found,
            floor_value: most,
            rounds: 1,
            allocations: None,
            allocations_budget: None,
        });
    }
}

impl Comparison {
    /// Counts only what the lane costs over the lane `bare`, which does the same without what is measured:
    /// it makes the same request, and has it answered by the same service.
    ///
    /// Requests made beforehand, many at once, would be cold when they are used and fall apart in an allocator
    /// that no server meets in that state.
    pub(crate) fn over(&mut self, bare: usize) -> &mut Self {
        self.over = Some(bare);
        self
    }

    /// The lane's allocations are counted as well, and may be so many.
    pub(crate) fn allocations(&mut self, budget: impl Into<Option<f64>>) -> &mut Self {
        (self.counts, self.allocations_budget) = (true, budget.into());
        self
    }
}

/// What came of a comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) path: String,
    pub(crate) subject: String,
    pub(crate) floor: String,
    /// What was measured of both: microseconds, unless something else was counted.
    pub(crate) unit: String,
    /// The median of the rounds' ratios.
    pub(crate) ratio: f64,
    /// With 95% confidence each, the median lies above `low` and below `high`.
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) budget: Option<f64>,
    pub(crate) subject_value: f64,
    pub(crate) floor_value: f64,
    pub(crate) rounds: usize,
    pub(crate) allocations: Option<f64>,
    pub(crate) allocations_budget: Option<f64>,
}

impl Row {
    /// True unless it was counted, which comes out the same each time.
    pub(crate) fn is_timed(&self) -> bool {
        self.rounds > 1
    }

    /// Whether the budgets are met; `None` if there is none.
    pub(crate) fn held(&self) -> Option<bool> {
        let time = self.budget.map(|budget| self.high <= budget);
        let allocations = self
            .allocations_budget
            .map(|budget| self.allocations.is_some_and(|allocations| allocations <= budget));
        match (time, allocations) {
            (None, None) => None,
            _ => Some(time.unwrap_or(true) && allocations.unwrap_or(true)),
        }
    }
}

/// Runs the lanes named `name`, and nothing else, for ten seconds each: for whoever looks on with a profiler.
pub(crate) fn dwell(mut group: Group, name: &str) {
    for lane in group.lanes.iter_mut().filter(|lane| lane.name == name && lane.fixed.is_none()) {
        let (begun, mut iterations) = (group.clock.spent(), 0);
        while group.clock.spent() < begun + Duration::from_secs(10) {
            lane.batch(group.clock, 1000);
            iterations += 1000;
        }
        let micros = (group.clock.spent() - begun).as_secs_f64() * 1e6 / f64::from(iterations);
        println!("{name}: {micros:.3} us");
    }
}

/// Runs the lanes named `name` `times` times each, a lane with its own number of iterations in whole batches: for
/// a profiler that counts instructions and would take an hour for ten seconds.
pub(crate) fn count(mut group: Group, name: &str, times: usize) {
    for lane in group.lanes.iter_mut().filter(|lane| lane.name == name) {
        let batch = lane.fixed.unwrap_or(times);
        (lane.prepare)(batch);
        (lane.run)(batch);
        for _ in 0..times.div_ceil(batch) {
            (lane.prepare)(batch);
            watched(lane, batch);
        }
        println!("{name}: {} operations watched", times.div_ceil(batch) * batch);
    }
}

/// By this name a profiler knows when to look.
#[inline(never)]
fn watched(lane: &mut Lane, times: usize) {
    (lane.run)(times);
}

/// Runs a group.
pub(crate) fn measure(mut group: Group, pace: Pace) -> Vec<Row> {
    let clock = group.clock;
    let iterations: Vec<usize> = group.lanes.iter_mut().map(|lane| lane.calibrate(clock, pace)).collect();
    let count = group.lanes.len();
    let mut micros = vec![Vec::with_capacity(pace.rounds); count];
    for round in 0..pace.rounds {
        for turn in 0..count {
            // Every other round runs backwards: no lane always finds the caches as the same other one left them.
            let turn = if round % 2 == 0 { turn } else { count - 1 - turn };
            let at = (turn + round / 2) % count;
            let spent = group.lanes[at].batch(clock, iterations[at]);
            micros[at].push(spent.as_secs_f64() * 1e6 / iterations[at] as f64);
        }
    }
    let row = |comparison: Comparison| {
        let Comparison { path, lane, over, floor, budget, counts, allocations_budget } = comparison;
        let allocations = told(&path).filter(|_| counts);
        let cost: Vec<f64> = match over {
            None => micros[lane].clone(),
            Some(bare) => micros[lane].iter().zip(&micros[bare]).map(|(all, bare)| all - bare).collect(),
        };
        let mut ratios: Vec<f64> =
            cost.iter().zip(&micros[floor]).map(|(cost, floor)| cost / floor).collect();
        ratios.sort_by(f64::total_cmp);
        let (low, high) = bounds(&ratios);
        Row {
            path,
            subject: group.lanes[lane].name.clone(),
            floor: group.lanes[floor].name.clone(),
            unit: "us".to_owned(),
            ratio: median(&ratios),
            low,
            high,
            budget,
            subject_value: median_of(&cost),
            floor_value: median_of(&micros[floor]),
            rounds: ratios.len(),
            allocations,
            allocations_budget,
        }
    };
    group.comparisons.into_iter().map(row).chain(group.counted).collect()
}

/// Of two measurements of one group the one to keep: that in which the floors were faster.
///
/// A neighbour on the same core slows whatever fills the core's width more than what waits for itself, such as a chain
/// of multiplications, and so moves a ratio for minutes. The floors alone decide, so that nothing is chosen for what
/// hopguard cost in it.
pub(crate) fn calmer(one: Vec<Row>, other: Vec<Row>) -> Vec<Row> {
    let floors =
        |rows: &[Row]| rows.iter().filter(|row| row.is_timed()).map(|row| row.floor_value).sum::<f64>();
    if floors(&other) < floors(&one) { other } else { one }
}

/// What a group counts, by the paths of its rows: allocations per operation, over those of the bare lane where there
/// is one; and bytes.
pub(crate) fn counts(mut group: Group) -> Vec<(String, f64)> {
    let mut of = |lane: usize| allocations_of(&mut group.lanes[lane]);
    let counting = group.comparisons.iter().filter(|comparison| comparison.counts);
    let allocations = counting.map(|Comparison { path, lane, over, .. }| {
        let own = of(*lane) - over.map_or(0.0, &mut of);
        // Now and then a table grows: tenths are not the operation's own.
        (path.clone(), (own * 10.0).round() / 10.0)
    });
    let bytes = group.counted.iter().map(|row| (row.path.clone(), row.subject_value));
    allocations.chain(bytes).collect()
}

fn allocations_of(lane: &mut Lane) -> f64 {
    let iterations = lane.fixed.unwrap_or(100);
    // What is made once, and lazily, is made in the first.
    (lane.prepare)(iterations);
    (lane.run)(iterations);
    (lane.prepare)(iterations);
    let counted = counted(|| (lane.run)(iterations));
    counted.map_or(0.0, |counted| counted.allocations as f64 / iterations as f64)
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn median_of(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median(&sorted)
}

/// The bounds of the median by order statistics: each holds with 95% confidence, whatever the distribution.
///
/// The median lies below the `k`-th smallest of `n` values unless at least `k` of them fell below it, which
/// happens with the probability of `k` heads or more in `n` throws.
fn bounds(sorted: &[f64]) -> (f64, f64) {
    let n = sorted.len();
    let mut chance = 0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut tail = 0.0;
    // From the top: the tail of `n` heads, `n - 1` heads, and so on.
    let mut from_top = 0;
    while from_top < n / 2 {
        tail += chance;
        if tail > 0.05 {
            break;
        }
        from_top += 1;
        chance = chance * (n + 1 - from_top) as f64 / from_top as f64;
    }
    let trimmed = from_top.saturating_sub(1);
    (sorted[trimmed], sorted[n - 1 - trimmed])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_sign_test() {
        // P(Bin(21, 1/2) >= 15) = 0.0392 and P(... >= 14) = 0.0946: the 15th of 21, and the 7th.
        let ratios: Vec<f64> = (1..=21).map(f64::from).collect();
        assert_eq!(bounds(&ratios), (7.0, 15.0));
        // P(Bin(41, 1/2) >= 27) = 0.0298, P(... >= 26) = 0.0586.
        let ratios: Vec<f64> = (1..=41).map(f64::from).collect();
        assert_eq!(bounds(&ratios), (15.0, 27.0));
        // Too few to say anything: the extremes.
        assert_eq!(bounds(&[1.0, 2.0, 3.0]), (1.0, 3.0));
    }

    #[test]
    fn the_floors_say_which_was_calmer() {
        let rows = |subject_value, floor_value| {
            let (path, floor, ratio) = (String::new(), String::new(), subject_value / floor_value);
            vec![Row {
                subject: path.clone(),
                path,
                floor,
                unit: "us".to_owned(),
                ratio,
                low: ratio,
                high: ratio,
                budget: None,
                subject_value,
                floor_value,
                rounds: 41,
                allocations: None,
                allocations_budget: None,
            }]
        };
        let kept = |one, other| calmer(one, other).first().map(|row| row.subject_value);
        assert_eq!(kept(rows(2.0, 16.0), rows(1.0, 17.0)), Some(2.0));
        assert_eq!(kept(rows(1.0, 17.0), rows(2.0, 16.0)), Some(2.0));
    }

    #[test]
    fn a_ratio_is_found_and_judged() {
        fn spin(times: u32) {
            for n in 0..times {
                std::hint::black_box(n);
            }
        }
        let mut group = Group::new(Whose::Thread);
        let floor = group.lane(Lane::new("floor", || spin(20_000)));
        let fourfold = Lane::over_input(
            "fourfold",
            || vec![1_u8; 8],
            |input: &Vec<u8>| {
                drop(std::hint::black_box(input.clone()));
                spin(80_000);
            },
        );
        let fourfold = group.lane(fourfold);
        group.compare("fourfold", fourfold, floor, 100.0).allocations(None);
        group.compare("fourfold, tight", fourfold, floor, 1.5);
        group.compare("the other half", fourfold, floor, 1.0).over(floor).allocations(1.0);
        let rows = measure(group, Pace::QUICK);
        // Far from either end, because another job may have the processor for a while.
        assert!((2.0..8.0).contains(&rows[0].ratio), "{rows:?}");
        assert_eq!((rows[0].allocations, rows[0].held()), (None, Some(true)));
        assert_eq!(rows[1].held(), Some(false));
        assert!((1.0..7.0).contains(&rows[2].ratio), "{rows:?}");
        assert_eq!(rows[2].held(), Some(false), "what nobody counted is not held");
    }
}
