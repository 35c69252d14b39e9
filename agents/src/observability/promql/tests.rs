use proptest::prelude::*;

use super::lex::unquote;
use super::*;

fn check(expression: &str, subject: &str, threshold: Option<f64>) {
    let found = condition(expression).unwrap();
    assert_eq!(
        (found.subject.as_str(), found.threshold),
        (subject, threshold)
    );
}

#[test]
fn comparisons_split_at_the_top_level() {
    check("up == 0", "up", Some(0.0));
    check("rate(a[5m]) > 0.5", "rate(a[5m])", Some(0.5));
    check("(rate(a[5m]) > 0.5)", "rate(a[5m])", Some(0.5));
    check("((a) > 5)", "(a)", Some(5.0));
    check("0.5 < a / b", "a / b", Some(0.5));
    check("a > bool 1e3", "a", Some(1000.0));
    check("a < -1.5", "a", Some(-1.5));
    check("a > 5 * 60", "a", Some(300.0));
    check("a > (1 / 4)", "a", Some(0.25));
    check("-a > 1", "-a", Some(1.0));
    check("a>1<5", "a", Some(1.0));
    check("a > on (job) group_left (x) b", "a", None);
    check("a > b", "a", None);
    check("1 > 0", "1 > 0", None);
    check("absent(up{job=\"a\"})", "absent(up{job=\"a\"})", None);
    check("a > +Inf", "a", None);
}

#[test]
fn set_operators_filter_the_first_operand() {
    check("a > 1 and b > 2", "a", Some(1.0));
    check("a > 1 AND on (job) b", "a", Some(1.0));
    check("a unless b > 2", "a", None);
    check("(a > 1 or b) and c", "a", Some(1.0));
    check("demand_and_order > 3", "demand_and_order", Some(3.0));
}

#[test]
fn strings_comments_and_brackets_hide_operators() {
    check(
        r#"a{x="b > 5 and c"} > 2"#,
        r#"a{x="b > 5 and c"}"#,
        Some(2.0),
    );
    check(r#"a{x="\"> 5"} > 2"#, r#"a{x="\"> 5"}"#, Some(2.0));
    check("a{x=~'>'} > 2", "a{x=~'>'}", Some(2.0));
    check("a{x!=`>`} > 2 # and not > 3", "a{x!=`>`}", Some(2.0));
    check("sum(a > 3) by (or) > 2", "sum(a > 3) by (or)", Some(2.0));
    check(
        "max_over_time((a > 1)[5m:10s]) >= 1",
        "max_over_time((a > 1)[5m:10s])",
        Some(1.0),
    );
}

#[test]
fn what_does_not_close_is_refused() {
    for bad in ["a{x=\"} > 1", "(a > 1", "a) > 1", "(a] > 1", "a{"] {
        assert_eq!(condition(bad), None, "{bad}");
    }
}

fn check_selectors(expression: &str, expect: &[&str]) {
    let found: Vec<String> = selectors(expression)
        .iter()
        .map(|(metric, matchers)| selector(metric, matchers))
        .collect();
    assert_eq!(found, expect);
}

#[test]
fn selectors_are_written_anew() {
    check_selectors(
        r#"sum by (job, le) (rate(req_total{code=~"5..", job='demo'}[1m])) / sum without(x)(rate(all:req[1m] offset 5m)) > 0.1"#,
        &[r#"req_total{code=~"5..",job="demo"}"#, "all:req"],
    );
    check_selectors(r#"{__name__="a"} > 1"#, &[r#"{__name__="a"}"#]);
    check_selectors("a and on (job) b", &["a", "b"]);
    check_selectors("time() - t > 5 * 60", &["t"]);
}

#[test]
fn values_are_escaped() {
    let all = [
        Matcher::equal("job", "a\"} or up{x=\"\\"),
        Matcher::one_of("ns", &["a.b", "c|d"]),
        Matcher::equal("line", "one\ntwo\u{1}"),
    ];
    insta::assert_snapshot!(
        selector("m", &all),
        @r#"m{job="a\"} or up{x=\"\\",ns=~"a\\.b|c\\|d",line="one\ntwo\U00000001"}"#
    );
}

proptest! {
    /// Whatever the value, the selector is one selector with this value.
    #[test]
    fn a_value_cannot_leave_its_quotes(value in "[^\\p{Cc}]*|.*\n.*|[\"\\\\{}=,]*") {
        prop_assume!(!value.chars().any(|c| c.is_control() && c != '\n'));
        let text = selector("m", &[Matcher::equal("job", value.clone())]);
        let all = tokens(&text).unwrap();
        prop_assert_eq!(all.len(), 6);
        prop_assert_eq!(unquote(all[4].text), Some(value));
    }

    #[test]
    fn any_text_is_survived(text in ".*", ops in "[a-c(){}\\[\\]<>=!\"'#0-9 *-]*") {
        for text in [text, ops] {
            if let Some(found) = condition(&text) {
                prop_assert!(text.contains(&found.subject));
            }
            selectors(&text);
        }
    }
}
