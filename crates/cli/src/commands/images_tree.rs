//! `rctr images --tree`: each image with what it is made for, as Docker's tree has it.

use std::collections::BTreeSet;
use std::io::Write;

use rctr_engine::{Engine, ImageSummary, familiar_name};

use crate::failure::Result;
use crate::output::table::write_aligned;
use crate::output::{short_id, size};

const NONE: &str = "<untagged>";

/// Writes the tree of these images.
pub fn write(out: &mut impl Write, engine: &Engine, images: &[ImageSummary]) -> Result<()> {
    let used: BTreeSet<String> = engine
        .containers()?
        .into_iter()
        .map(|c| c.image_id)
        .collect();
    let mut text = "IMAGE\tID\tDISK USAGE\tCONTENT SIZE\tUSED\n".to_owned();
    for image in images {
        let details = engine.image(&image.id)?;
        let content = engine.content_size(&details)?;
        let mut line = |name: &str, id: &str, used: bool| {
            text += &format!(
                "{name}\t{}\t{}\t{}\t{}\n",
                short_id(id),
                size::human3(image.size),
                size::human3(content),
                if used { "✔" } else { "" },
            );
        };
        let used = used.contains(&image.id);
        match &image.tags[..] {
            [] => line(NONE, &image.id, used),
            tags => {
                for tag in tags {
                    line(&familiar_name(tag), &image.id, used);
                }
            }
        }
        let platform = format!("└─ {}", details.platform);
        line(&platform, &details.manifest_digest, used);
    }
    Ok(write_aligned(out, &text)?)
}
