//! The page as a real browser takes it over real HTTP: with the gzip block that is put together for each answer, and
//! without.

use anteroom::http::Limits;
use serde_json::json;

use crate::support::browser::Browser;
use crate::support::house::House;

/// What came, and what it was unpacked to, in bytes; and the nonce that is in it.
const SEEN: &str = "const [page] = performance.getEntriesByType('navigation');
return { sent: page.encodedBodySize, read: page.decodedBodySize, nonce: document.querySelector('[name=nonce]').value.length, end: document.documentElement.outerHTML.endsWith('</html>') };";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_browser_reads_the_page_packed_or_not_and_wakes_with_its_nonce() {
    for packed in [true, false] {
        let hosts = vec!["127.0.0.1".to_owned()];
        let mut house = House::with(Limits::default(), |site| site.hosts = hosts).await;
        let browser = Browser::start(&[]).await;
        if !packed {
            browser.commands("Network.enable", json!({})).await;
            let headers = json!({ "headers": { "Accept-Encoding": "identity" } });
            browser
                .commands("Network.setExtraHTTPHeaders", headers)
                .await;
        }
        let url = format!("http://{}/deep?a=b", house.address);
        // Twice: as it is prepared, and as it was, each with a nonce of its own.
        for _ in 0..2 {
            browser.go(&url).await;
            let seen = browser.runs(SEEN).await;
            assert_eq!((&seen["nonce"], &seen["end"]), (&72.into(), &true.into()));
            let (sent, read) = (seen["sent"].as_u64(), seen["read"].as_u64());
            assert_eq!(sent < read, packed, "{seen}");
            assert!(!packed || sent <= Some(14_000), "{seen}");
            // The script ran, the nonce is good: the page's own wake came through.
            let woke = house.trigger().await;
            assert_eq!(woke.path, "/deep");
        }
        let complaints = browser.complaints().await;
        let of_decoding = |line: &&String| line.contains("ERR_CONTENT_DECODING_FAILED");
        assert_eq!(complaints.iter().find(of_decoding), None);
        browser.close().await;
    }
}
