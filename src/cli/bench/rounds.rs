//! What is measured, in which order. With two addresses each round goes to both, and the next one begins with the other: what else the
//! machine or the network does meanwhile falls on both.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;

use super::figures::Measure;
use super::image::Image;
use super::plan::Plan;
use super::side::Side;
use super::trouble::Trouble;
use crate::cli::progress::{Progress, Shown};
use crate::cli::words::text;

/// Requests whose time is told one by one.
const REQUESTS: [Measure; 4] = [Measure::Ping, Measure::Manifest, Measure::Tags, Measure::Catalog];

/// How far it is.
pub struct Tell {
    progress: Mutex<Progress>,
    done: Mutex<u64>,
    of: u64,
}

impl Tell {
    pub fn new(quiet: bool, plan: &Plan, sides: usize) -> Self {
        let kinds = u64::try_from(REQUESTS.len()).unwrap_or_default();
        let pulls = u64::from(plan.pulls) + u64::from(plan.waves());
        let each = u64::from(plan.pushes) + pulls + kinds * u64::from(plan.requests);
        let of = each * u64::try_from(sides).unwrap_or(1);
        Tell { progress: Mutex::new(Progress::new(quiet, show)), done: Mutex::new(0), of }
    }

    fn step(&self, what: &str, side: &Side) {
        let done = {
            let mut done = self.done.lock();
            *done += 1;
            *done
        };
        let step = json!({ "now": format!("{what}: {}", side.registry.address), "done": done, "of": self.of });
        self.progress.lock().step(&step);
    }

    pub fn clear(&self) {
        self.progress.lock().clear();
    }
}

fn show(step: &serde_json::Value) -> Shown {
    let part = step["done"].as_u64().zip(step["of"].as_u64());
    Shown { line: None, now: Some(text(&step["now"])), part }
}

/// All of it.
///
/// # Errors
/// Somebody refuses what the rest needs, or too much goes wrong.
pub async fn measure(plan: &Plan, sides: &[Arc<Side>], tell: &Tell) -> Result<(), Trouble> {
    for side in sides {
        side.hello().await?;
    }
    for round in 0..plan.pushes {
        for side in order(round, sides) {
            tell.step("push", side);
            push(plan, side, round).await?;
        }
    }
    for round in 0..plan.pulls {
        for side in order(round, sides) {
            tell.step("pull", side);
            if let Some(image) = side.image(round) {
                side.timed(Measure::Pull, image.size(), side.pull(&image)).await?;
            }
        }
    }
    for round in 0..plan.waves() {
        for side in order(round, sides) {
            tell.step("pulls at once", side);
            wave(plan, side, round).await?;
        }
    }
    for measure in REQUESTS {
        for round in 0..plan.requests {
            for side in order(round, sides) {
                tell.step("requests", side);
                request(side, measure, round).await?;
            }
        }
    }
    Ok(())
}

/// The first one goes first in every other round.
fn order(round: u32, sides: &[Arc<Side>]) -> impl Iterator<Item = &Arc<Side>> {
    let from = if round.is_multiple_of(2) { 0 } else { sides.len().saturating_sub(1) };
    sides.iter().cycle().skip(from).take(sides.len())
}

async fn push(plan: &Plan, side: &Arc<Side>, number: u32) -> Result<(), Trouble> {
    let (made, run) = (*plan, side.run.clone());
    let image = tokio::task::spawn_blocking(move || Image::new(&made, &run, number)).await;
    let image = Arc::new(image.map_err(|error| Trouble::Start(error.to_string()))?);
    let begun = Instant::now();
    let done = side.push(&image).await;
    match done {
        // Who may not push once may not push.
        Err(trouble) if side.images.lock().is_empty() => Err(trouble),
        done => side.add(Measure::Push, begun.elapsed(), image.size(), done, true),
    }
}

/// Pulls that begin together; how long all took is how long the last one did.
async fn wave(plan: &Plan, side: &Arc<Side>, round: u32) -> Result<(), Trouble> {
    let mut pulls = JoinSet::new();
    let begun = Instant::now();
    for number in 0..plan.concurrency {
        let Some(image) = side.image(round.wrapping_mul(plan.concurrency).wrapping_add(number)) else { continue };
        let side = Arc::clone(side);
        pulls.spawn(async move {
            let begun = Instant::now();
            let done = side.pull(&image).await;
            side.add(Measure::Concurrent, begun.elapsed(), image.size(), done, false)
        });
    }
    while let Some(done) = pulls.join_next().await {
        done.map_err(|error| Trouble::Start(error.to_string()))??;
    }
    side.figures.lock().entry(Measure::Concurrent).or_default().busy += begun.elapsed();
    Ok(())
}

async fn request(side: &Arc<Side>, measure: Measure, round: u32) -> Result<(), Trouble> {
    match measure {
        Measure::Ping => side.timed(measure, 0, side.ping()).await,
        Measure::Manifest => match side.image(round) {
            Some(image) => side.timed(measure, 0, side.manifest(&image)).await,
            None => Ok(()),
        },
        Measure::Tags => side.timed(measure, 0, side.tags()).await,
        Measure::Catalog if side.no_catalog.lock().is_some() => Ok(()),
        Measure::Catalog => {
            let begun = Instant::now();
            match side.catalog().await {
                Err(trouble) if round == 0 && trouble.is_no() => {
                    *side.no_catalog.lock() = Some(trouble.to_string());
                    Ok(())
                }
                done => side.add(measure, begun.elapsed(), 0, done, true),
            }
        }
        Measure::Push | Measure::Pull | Measure::Concurrent => Ok(()),
    }
}
