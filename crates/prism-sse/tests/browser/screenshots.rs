//! Screenshots of every example's page, for people to look at: `target/screenshots/*.png`.

use std::path::{Path, PathBuf};

use crate::browser::Browser;
use crate::server::Example;

/// A wide page and one as narrow as a phone.
const SIZES: [(u32, u32); 2] = [(1280, 800), (390, 844)];

/// A page, and what brings it into a state worth showing.
struct PageScene {
    example: &'static str,
    /// A condition to wait for, and the element to click then.
    click: Option<(&'static str, &'static str)>,
    ready: &'static str,
}

const PAGE_SCENES: [PageScene; 5] = [
    PageScene {
        example: "resume",
        click: Some(("received.textContent >= 2", "#cut")),
        ready: "replayed.textContent > 0",
    },
    PageScene { example: "dashboard", click: None, ready: "prices.length >= 6" },
    PageScene { example: "progress", click: Some(("true", "#start")), ready: "bar.value > 60" },
    PageScene {
        example: "notifications",
        click: Some(("state.textContent === 'live'", "#order")),
        ready: "feed.children.length > 0",
    },
    PageScene { example: "minimal", click: None, ready: "log.children.length >= 5" },
];

#[tokio::test]
async fn every_page_fits_its_screen_and_is_not_blank() {
    let directory = directory();
    std::fs::create_dir_all(&directory).expect("the target directory can be written to");
    let mut examples = Vec::new();
    for scene in &PAGE_SCENES {
        examples.push(Example::start(scene.example).await);
    }

    for (width, height) in SIZES {
        let browser = Browser::sized(width, height).await;
        let mut tabs = Vec::new();
        for (example, scene) in examples.iter().zip(&PAGE_SCENES) {
            tabs.push(browser.open_tab(&example.url("/")).await);
            if let Some((condition, selector)) = scene.click {
                browser.until(condition).await;
                browser.click(selector).await;
            }
        }
        for (tab, scene) in tabs.iter().zip(&PAGE_SCENES) {
            let name = scene.example;
            browser.switch_to(tab).await;
            browser.until(scene.ready).await;
            let root = "document.documentElement";
            let overflows = format!("{root}.scrollWidth > {root}.clientWidth");
            assert_eq!(browser.eval(&overflows).await, false, "{name} is wider than {width}");

            let image = browser.screenshot().await;
            assert_eq!(dimensions(&image), Some((width, height)), "{name}");
            assert!(image.len() > 8 * 1024, "{name} has only {} bytes: is it blank?", image.len());
            let path = directory.join(format!("{name}-{width}x{height}.png"));
            std::fs::write(&path, image)
                .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        }
    }
}

fn directory() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().expect("it is in the target directory").join("screenshots")
}

/// The first chunk of a PNG begins with its size (PNG, section 11.2.1).
fn dimensions(png: &[u8]) -> Option<(u32, u32)> {
    let header = png.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?;
    let (width, rest) = header.split_first_chunk()?;
    let (height, _) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*width), u32::from_be_bytes(*height)))
}
