use super::*;

#[test]
fn links_stand_before_the_text_or_in_attachments() {
    let document = json!({
        "msg": "[ ](https://a/x?msg=1) \n[](https://a/x?msg=2) text [ ](https://a/x?msg=3)",
        "attachments": [{ "message_link": "https://a/x?msg=4" }, { "title": "a file" }],
    });
    let ids: Vec<_> =
        links(&document).into_iter().filter_map(|link| quoted_id(link, "https://a")).collect();
    assert_eq!(ids, ["1", "2", "4"]);
    assert_eq!(links(&json!({ "msg": "[label](https://a/x?msg=1)" })), Vec::<&str>::new());
    for msg in ["[ ](", "[ ]", "[", "[ ](x", ""] {
        assert_eq!(links(&json!({ "msg": msg })), Vec::<&str>::new(), "{msg}");
    }
}

#[test]
fn only_links_of_the_site_with_a_plain_id_count() {
    let id = |link| quoted_id(link, "https://chat.example/");
    assert_eq!(id("https://chat.example/group/x?a=b&msg=Abc-9_#c"), Some("Abc-9_"));
    for link in [
        "https://chat.example.evil/group/x?msg=1",
        "https://other/group/x?msg=1",
        "https://chat.example/group/x",
        "https://chat.example/group/x?msg=",
        "https://chat.example/group/x?msg=a%2Fb",
        "https://chat.example/group/x?mmsg=1",
    ] {
        assert_eq!(id(link), None, "{link}");
    }
    assert_eq!(quoted_id("https://any/x?msg=1", ""), Some("1"));
}
