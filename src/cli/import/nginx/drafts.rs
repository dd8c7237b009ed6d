//! Locations that hand requests for repositories to somebody: a route in the making each.

use super::access::Access;
use super::globs;
use super::paths::{About, Order};
use super::scope::Scope;
use super::servers::{Answer, Entry};
use super::tree::Place;
use super::upstream::Target;

/// Every repository.
pub const ALL: &str = "**";

/// A route in the making.
pub struct Draft<'a> {
    pub repositories: String,
    pub target: Target,
    pub access: Access,
    pub scope: Scope<'a>,
    pub at: &'a Place,
    pub shown: String,
    order: Order,
    nested: bool,
}

impl Draft<'_> {
    pub fn is_ruled(&self) -> bool {
        !self.access.is_open() && !self.access.only_reads()
    }
}

/// The locations that hand requests for repositories to somebody, the narrowest first.
pub fn of<'a>(entries: &[Entry<'a>]) -> Result<Vec<Draft<'a>>, String> {
    let mut drafts: Vec<Draft<'a>> = Vec::new();
    // The interface itself goes before what is for everything, whatever is done there.
    let of = |about: &About| entries.iter().find(|entry| entry.about == *about);
    let whole = of(&About::Api).or_else(|| of(&About::Everything));
    for entry in entries {
        let fault = |why: &str| format!("of {} at {}, {why}", entry.shown, entry.at);
        let is_whole = whole.is_some_and(|whole| std::ptr::eq(whole, entry));
        let repositories = match (&entry.about, &entry.answer) {
            (About::Repositories(_) | About::Kind, Answer::Returns(400..)) => {
                return Err(format!("{} at {} refuses something to all, which no route does", entry.shown, entry.at));
            }
            (About::Repositories(_) | About::Kind | About::Unclear, Answer::Proxy(Err(why))) => return Err(fault(why)),
            (About::Unclear, Answer::Returns(400..)) => {
                return Err(fault("something is refused to all, and it may be about repositories"));
            }
            (
                About::Repositories(_) | About::Kind | About::Unclear,
                Answer::Returns(_) | Answer::ToHttps | Answer::Other(_),
            ) => {
                return Err(fault("requests that may be about repositories are not handed to a registry"));
            }
            (About::Repositories(glob), Answer::Proxy(Ok(_))) => glob.clone(),
            (About::Api | About::Everything, _) if is_whole => ALL.to_owned(),
            _ => continue,
        };
        let target = match &entry.answer {
            Answer::Proxy(Ok(target)) => target.clone(),
            Answer::Proxy(Err(why)) => return Err(fault(why)),
            Answer::Returns(_) | Answer::ToHttps | Answer::Other(_) => continue,
        };
        let access = Access::of(&entry.scope).map_err(|why| fault(&why))?;
        let known = drafts.iter().find(|draft| draft.repositories == repositories);
        if known.is_some_and(|known| known.access != access) {
            return Err(fault("others may there than at another location of the same repositories"));
        }
        if known.is_none() {
            let (scope, shown) = (entry.scope.clone(), entry.shown.clone());
            let (order, nested) = (entry.order, entry.nested);
            drafts.push(Draft { repositories, target, access, scope, at: entry.at, shown, order, nested });
        }
    }
    drafts.sort_by_key(|draft| draft.repositories == ALL);
    apart(&drafts)?;
    same_for_parts(entries, whole, &drafts)?;
    Ok(drafts)
}

/// What rules of one location allow counts in another that is about some of the same repositories: then both have to allow the same,
/// unless the other is about all of them, and nginx prefers the narrower one as routes do.
fn apart(drafts: &[Draft<'_>]) -> Result<(), String> {
    for (index, one) in drafts.iter().enumerate() {
        for other in drafts.iter().skip(index + 1).filter(|other| other.access != one.access) {
            let told_apart =
                other.repositories == ALL && !one.nested && !other.nested && goes_before(one.order, other.order);
            if !told_apart && globs::may_meet(&one.repositories, &other.repositories) {
                return Err(format!(
                    "{} at {} and {} at {} may be about the same repositories, and others may here than there",
                    one.shown, one.at, other.shown, other.at
                ));
            }
        }
    }
    Ok(())
}

/// Whether nginx takes the location of some repositories before the one of all.
fn goes_before(narrow: Order, wide: Order) -> bool {
    match (narrow, wide) {
        (Order::Pattern(narrow), Order::Pattern(wide)) => narrow < wide,
        (Order::Pattern(_), Order::Firm(_)) | (Order::Prefix(_), Order::Pattern(_)) => false,
        _ => true,
    }
}

/// Locations for some kind of requests are served as the others are: only if nobody is kept out by them alone.
fn same_for_parts(entries: &[Entry<'_>], whole: Option<&Entry<'_>>, drafts: &[Draft<'_>]) -> Result<(), String> {
    for entry in entries {
        let of = |why: String| format!("of {} at {}, {why}", entry.shown, entry.at);
        let is_whole = whole.is_some_and(|whole| std::ptr::eq(whole, entry));
        // A pattern goes before what is compared by its beginning, and may so be about all of it.
        let is_wide = matches!(entry.about, About::Api | About::Everything)
            && matches!(entry.order, Order::Pattern(_))
            && !is_whole;
        if !is_wide && !matches!(entry.about, About::Kind | About::Part(_) | About::Unclear) {
            continue;
        }
        match &entry.answer {
            Answer::Proxy(_) => {}
            _ if is_wide => return Err(of("requests for repositories are not handed to a registry".into())),
            _ => continue,
        }
        let access = Access::of(&entry.scope).map_err(of)?;
        if !access.is_open() && drafts.iter().any(|draft| draft.access != access) {
            return Err(of("others may there than elsewhere, and rules are about repositories".into()));
        }
    }
    Ok(())
}
