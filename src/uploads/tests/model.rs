//! Random pushes against a model: a byte vector.

use proptest::prelude::*;

use super::world::{End, Pieces, World, bytes, name};
use crate::oci::{Algorithm, Digest};
use crate::uploads::UploadError;

#[derive(Clone, Debug)]
enum Step {
    Append {
        size: usize,
        piece: usize,
        announced: bool,
    },
    Broken {
        size: usize,
        piece: usize,
    },
    /// Another instance, with this spool.
    Instance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..200_000usize, 1..70_000usize, any::<bool>())
            .prop_map(|(size, piece, announced)| Step::Append { size, piece: piece.max(size / 50), announced }),
        1 => (1..100_000usize, 2000..70_000usize).prop_map(|(size, piece)| Step::Broken { size, piece }),
        1 => prop_oneof![Just(0u64), Just(1 << 30), 1..150_000u64].prop_map(Step::Instance),
    ]
}

async fn run(world: &World, steps: Vec<Step>, guess: Algorithm, digest: Algorithm, last: usize) {
    let mut uploads = world.instance(1 << 30).await;
    let mut upload = uploads.begin(&name(), guess).await.unwrap();
    let mut model: Vec<u8> = Vec::new();
    for (index, step) in steps.into_iter().enumerate() {
        match step {
            Step::Append { size, piece, announced } => {
                let content = bytes(index as u64, size);
                let mut body = if announced { Pieces::announced(&content) } else { Pieces::new(&content, piece) };
                model.extend(&content);
                assert_eq!(upload.append(&mut body).await.unwrap(), model.len() as u64);
            }
            Step::Broken { size, piece } => {
                let content = bytes(index as u64, size);
                let body = &mut Pieces::new(&content, piece).ending(End::Broken);
                assert!(matches!(upload.append(body).await, Err(UploadError::Body(_))));
                let kept = upload.offset() as usize - model.len();
                model.extend(&content[..kept]);
            }
            Step::Instance(spool) => {
                uploads = world.instance(spool).await;
                upload = uploads.resume(&name(), upload.id()).await.unwrap().unwrap();
            }
        }
        assert_eq!(upload.offset(), model.len() as u64);
    }
    let content = bytes(77, last);
    model.extend(&content);
    let digest = Digest::of(digest, &model);
    let size = upload.commit_all(&digest, &mut Pieces::new(&content, 20_000)).await.unwrap();
    assert_eq!(size, model.len() as u64);
    world.assert_blob(&digest, &model).await;
    assert!(world.leftovers().await.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_chunking_gives_the_same_blob(
        steps in prop::collection::vec(step(), 0..25),
        long: (bool, bool),
        last in prop_oneof![Just(0usize), 1..50_000usize],
        local: bool,
    ) {
        let algorithm = |long| if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let world = if local { World::filesystem().await } else { World::memory().await };
            run(&world, steps, algorithm(long.0), algorithm(long.1), last).await;
        });
    }
}
