//! Text that other people chose, made harmless for where it is shown: a terminal, a web page, a chat, a mail, a table
//! for a spreadsheet. Pure. What is kept and sent on to programs is left as it came; this is for the eyes of people.

/// Stands where a character was that must not be shown.
const HIDDEN: char = '\u{fffd}';

/// Characters that steer the medium, change how their neighbours look, or do not show at all (Unicode Cc, Cf, tags,
/// fillers, line and paragraph separators, variation selectors).
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}'
            | '\u{ffa0}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// On one line, in the order it is stored, with a mark for each character that is not shown. For terminals.
pub fn shown(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { HIDDEN } else { c }).collect()
}

/// As [`shown`]; white space of any kind becomes a blank, and what is longer than `chars_max` characters is cut, with
/// `…` as the last of them. For the subject of a mail, and for everything in a notice.
pub fn line(text: &str, chars_max: usize) -> String {
    let mut chars = text.trim().chars().map(|c| match c {
        c if c.is_whitespace() => ' ',
        c if is_hidden(c) => HIDDEN,
        c => c,
    });
    let mut line: String = chars.by_ref().take(chars_max).collect();
    if chars.next().is_some() {
        line.pop();
        line.push('…');
    }
    line
}

/// For HTML, as text or in a quoted attribute. Line breaks and tabs stay: they mean nothing there.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if is_hidden(c) => out.push(HIDDEN),
            c => out.push(c),
        }
    }
    out
}

/// For a chat that reads Slack's `mrkdwn` or, as its kin do, Markdown: one line in which nobody is called (`@here`,
/// `<!channel>`), and no link hides where it leads (`<url|text>`, `[text](url)`). What only changes letters (`*`, `_`)
/// stays: names are full of it.
pub fn chat(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in line(text, chars_max).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // As a letter it calls nobody. Inside a word it is an address, and stays.
            '@' if !before.is_alphanumeric() => out.push('＠'),
            '(' | '[' | ':' if before == ']' => {
                out.push(' ');
                out.push(c);
            }
            c => out.push(c),
        }
        before = c;
    }
    out
}

/// One cell of a CSV table (RFC 4180), quoted. What a spreadsheet would take for a formula gets an apostrophe first.
pub fn csv(text: &str) -> String {
    let text = shown(text);
    let formula =
        text.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_on_one_line() {
        for (text, expect) in [
            ("plain – ünïcode 漢字", "plain – ünïcode 漢字"),
            ("a\u{1b}[31mred\u{1b}]0;title\u{7}", "a\u{fffd}[31mred\u{fffd}]0;title\u{fffd}"),
            ("Subject\r\nBcc: all@example.com", "Subject  Bcc: all@example.com"),
            ("\u{9b}2J", "\u{fffd}2J"),
            ("user\u{202e}gnp.exe", "user\u{fffd}gnp.exe"),
            ("\u{2066}x\u{2069}", "\u{fffd}x\u{fffd}"),
            ("ad\u{200b}min\u{feff}", "ad\u{fffd}min\u{fffd}"),
            ("tag\u{e0041}", "tag\u{fffd}"),
            ("a\u{2028}b\u{2029}c", "a b c"),
            ("a\u{85}b\u{b}c\u{c}d", "a b c d"),
            ("\0", "\u{fffd}"),
            ("  padded\t", "padded"),
            ("", ""),
        ] {
            assert_eq!(line(text, 100), expect, "{text:?}");
            assert!(!line(text, 100).chars().any(is_hidden), "{text:?}");
            assert!(!shown(text).chars().any(is_hidden), "{text:?}");
        }
    }

    #[test]
    fn long_text_is_cut_where_one_sees_it() {
        assert_eq!(line("abcdef", 6), "abcdef");
        assert_eq!(line("abcdefg", 6), "abcde…");
        assert_eq!(line(&"é".repeat(1_000_000), 200).chars().count(), 200);
        assert_eq!(line("ab", 0), "…");
    }

    #[test]
    fn attacks_on_a_page() {
        for (text, expect) in [
            ("<script>alert('&')</script>", "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"),
            ("\"><img src=x onerror=y>", "&quot;&gt;&lt;img src=x onerror=y&gt;"),
            ("&lt;", "&amp;lt;"),
            ("a\u{202e}b\u{0}", "a\u{fffd}b\u{fffd}"),
            ("two\nlines\tx", "two\nlines\tx"),
        ] {
            assert_eq!(html(text), expect, "{text:?}");
        }
    }

    #[test]
    fn attacks_on_a_chat() {
        for (text, expect) in [
            ("<!channel> <!here|x> <@U123>", "&lt;!channel&gt; &lt;!here|x&gt; &lt;＠U123&gt;"),
            ("@here @channel (@all)", "＠here ＠channel (＠all)"),
            ("ann@example.com", "ann@example.com"),
            (
                "<https://evil.example|https://bastion.example>",
                "&lt;https://evil.example|https://bastion.example&gt;",
            ),
            ("[approve](https://evil.example)", "[approve] (https://evil.example)"),
            ("![x](http://10.0.0.1/pixel)", "![x] (http://10.0.0.1/pixel)"),
            ("[a][b] [b]:http://evil.example", "[a] [b] [b] :http://evil.example"),
            ("&lt;!channel&gt;", "&amp;lt;!channel&amp;gt;"),
            ("db_admin *now*", "db_admin *now*"),
            ("```\nfake\n```", "``` fake ```"),
            ("> quote\n# head", "&gt; quote # head"),
        ] {
            assert_eq!(chat(text, 200), expect, "{text:?}");
        }
    }

    #[test]
    fn attacks_on_a_spreadsheet() {
        for (text, expect) in [
            ("plain", "\"plain\""),
            ("say \"hi\", x", "\"say \"\"hi\"\", x\""),
            ("=HYPERLINK(\"http://evil.example\")", "\"'=HYPERLINK(\"\"http://evil.example\"\")\""),
            ("+1", "\"'+1\""),
            ("-2+3", "\"'-2+3\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            (" =1", "\"' =1\""),
            ("a\r\n=1", "\"a\u{fffd}\u{fffd}=1\""),
            ("\t=1", "\"\u{fffd}=1\""),
        ] {
            assert_eq!(csv(text), expect, "{text:?}");
        }
    }
}
