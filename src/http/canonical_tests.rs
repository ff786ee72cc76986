//! What canonical JSON is held to: RFC 8785's own examples, and values drawn at random.

use super::canonical;

fn of(text: &str) -> Option<String> {
    canonical(text.as_bytes()).map(|form| String::from_utf8(form).unwrap())
}

fn same(text: &str, form: &str) {
    assert_eq!(of(text).as_deref(), Some(form), "{text}");
    assert_eq!(of(form).as_deref(), Some(form), "a canonical form is its own");
}

/// C11: RFC 8785, appendix B: the octets of a double, and how it is written. `{:e}` writes the
/// shortest digits that are this double, as every serializer of JSON should.
#[test]
fn c11_numbers_are_written_as_rfc_8785s_table_says() {
    for (bits, form) in [
        (0x0000_0000_0000_0000_u64, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
    ] {
        let double = f64::from_bits(bits);
        for spelling in [format!("{double:e}"), format!("{double:E}"), format!("{double}")] {
            same(&spelling, form);
        }
    }
    // The table's last: halfway between two shortest spellings, of which ECMAScript takes the even
    // one. Here each keeps its digits.
    assert_eq!("1424953923781206.2".parse::<f64>().unwrap().to_bits(), 0x4314_3ff3_c1cb_0959);
    same("1424953923781206.2", "1424953923781206.2");
}

/// C11: RFC 8785, sections 3.2.2 and 3.2.3, and what JSON allows besides.
#[test]
fn c11_texts_are_written_as_rfc_8785_says() {
    for (text, form) in [
        (
            r#"{ "numbers": [333333333.3333333, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                 "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                 "literals": [null, true, false] }"#,
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
        ),
        (
            r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh",
                "1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control",
                "\u00f6":"Latin Small Letter O With Diaeresis"}"#,
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\
             \"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        ),
        (" \t\r\n[ ] ", "[]"),
        ("{ }", "{}"),
        (r#""\b\f\t\u007f\u0000""#, "\"\\b\\f\\t\u{7f}\\u0000\""),
        ("-0.0e5", "0"),
        ("100e-2", "1"),
        ("0.00001", "0.00001"),
        ("0.0000001", "1e-7"),
        ("123456789012345678901", "123456789012345678901"),
        ("1234567890123456789012", "1.234567890123456789012e+21"),
    ] {
        same(text, form);
    }
}

/// C11: a neighbour is another number, whatever a double makes of both.
#[test]
fn c11_numbers_that_no_double_holds_keep_their_digits() {
    for (one, other) in [
        ("9007199254740992", "9007199254740993"),
        ("18446744073709551615", "18446744073709551616"),
        ("1e400", "1e401"),
        ("0.1", "0.10000000000000000555"),
        ("1e-400", "0"),
        ("123456789012345678901234567890", "123456789012345678901234567891"),
    ] {
        assert_ne!(of(one).unwrap(), of(other).unwrap(), "{one} and {other}");
    }
    same("9007199254740993.0", "9007199254740993");
}

#[test]
fn c11_what_is_not_one_json_value_has_no_form() {
    for text in [
        "",
        " ",
        "{",
        "[1,]",
        "{,}",
        "[1 2]",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "{a:1}",
        "'a'",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "nul",
        "truex",
        "1 2",
        "\u{feff}1",
        "\"\t\"",
        "\"a",
        r#""\x""#,
        r#""\u12""#,
        r#""\u+123""#,
        r#""\ud800""#,
        r#""\ud800\u0041""#,
        r#""\udc00""#,
        "1e99999999999999999999",
        "[1}",
        "{\"a\":1]",
    ] {
        assert_eq!(of(text), None, "{text:?}");
    }
    assert_eq!(canonical(b"\"\xff\""), None);
}

/// C11: of two members of one name, one parser takes the first and another the last.
#[test]
fn c11_a_name_given_twice_has_no_form() {
    for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":{},"\u0061":2}"#, r#"[{"x":{"":1,"":1}}]"#] {
        assert_eq!(of(text), None, "{text}");
    }
}

#[test]
fn c11_nesting_is_bounded() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(of(&nested(128)).is_some());
    assert_eq!(of(&nested(129)), None);
    assert_eq!(of(&"[".repeat(1 << 20)), None);
    assert_eq!(of(&"{\"\":".repeat(1 << 18)), None);
}

/// A JSON value; a number is its digits and the power of ten they are times.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Number(i64, i32),
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

fn draw_text(random: &mut fastrand::Rng) -> String {
    let letters =
        ['a', 'b', '"', '\\', '/', '\n', '\u{1}', 'é', '€', '\u{fb33}', '😀', '\u{10ffff}'];
    (0..random.usize(0..4)).map(|_| *random.choice(&letters).unwrap()).collect()
}

fn draw(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.u8(0..if depth == 0 { 4 } else { 6 }) {
        0 => Value::Null,
        1 => Value::Bool(random.bool()),
        2 => {
            let digits = random.i64(..) >> random.u32(0..64);
            // Neither ends in a zero nor is one: then two pairs are one number only if equal.
            let digits = if digits % 10 == 0 { (digits / 2) | 1 } else { digits };
            Value::Number(digits, random.i32(-30..30))
        }
        3 => Value::Text(draw_text(random)),
        4 => Value::Array((0..random.usize(0..4)).map(|_| draw(random, depth - 1)).collect()),
        _ => {
            let mut members: Vec<(String, Value)> = Vec::new();
            for _ in 0..random.usize(0..5) {
                let name = draw_text(random);
                if members.iter().all(|(other, _)| *other != name) {
                    members.push((name, draw(random, depth - 1)));
                }
            }
            Value::Object(members)
        }
    }
}

/// `value` in one of its many spellings.
fn spell(value: &Value, random: &mut fastrand::Rng, out: &mut String) {
    fn blank(random: &mut fastrand::Rng, out: &mut String) {
        for _ in 0..random.usize(0..3) {
            out.push(*random.choice(&[' ', '\t', '\n', '\r']).unwrap());
        }
    }
    blank(random, out);
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(bool) => out.push_str(if *bool { "true" } else { "false" }),
        Value::Number(digits, exponent) => {
            let zeros = random.i32(0..3);
            let exponent = exponent - zeros;
            let digits = format!("{digits}{}", "0".repeat(zeros.unsigned_abs() as usize));
            match random.u8(0..3) {
                0 => out.extend([format!("{digits}e{exponent}")]),
                1 => out.extend([format!("{digits}.00E{exponent:+}")]),
                _ => {
                    let (whole, fraction) = digits.split_at(digits.len() - 1);
                    if whole.is_empty() || whole == "-" {
                        out.extend([format!("{digits}e{exponent:+04}")]);
                    } else {
                        out.extend([format!("{whole}.{fraction}e{}", exponent + 1)]);
                    }
                }
            }
        }
        Value::Text(text) => spell_text(text, random, out),
        Value::Array(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                spell(value, random, out);
            }
            blank(random, out);
            out.push(']');
        }
        Value::Object(members) => {
            let mut members = members.clone();
            random.shuffle(&mut members);
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                blank(random, out);
                spell_text(name, random, out);
                blank(random, out);
                out.push(':');
                spell(value, random, out);
            }
            blank(random, out);
            out.push('}');
        }
    }
    blank(random, out);
}

fn spell_text(text: &str, random: &mut fastrand::Rng, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if random.bool() || character < ' ' || "\"\\".contains(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let upper = random.bool();
                out.extend([if upper {
                    format!("\\u{unit:04X}")
                } else {
                    format!("\\u{unit:04x}")
                }]);
            }
        } else {
            out.push(character);
        }
    }
    out.push('"');
}

/// `value` with something about it changed.
fn change(value: &Value, random: &mut fastrand::Rng) -> Value {
    loop {
        let mut changed = value.clone();
        alter(&mut changed, random);
        if !equal(&changed, value) {
            return changed;
        }
    }
}

/// Puts another value in the place of one somewhere within.
fn alter(value: &mut Value, random: &mut fastrand::Rng) {
    if random.u8(0..3) > 0 {
        match value {
            Value::Array(values) if !values.is_empty() => {
                let index = random.usize(0..values.len());
                return alter(&mut values[index], random);
            }
            Value::Object(members) if !members.is_empty() => {
                let index = random.usize(0..members.len());
                let (name, value) = &mut members[index];
                if random.u8(0..4) == 0 {
                    // No other name is as long.
                    name.push_str("longer");
                    return;
                }
                return alter(value, random);
            }
            _ => {}
        }
    }
    *value = match value {
        // A neighbour that does not end in a zero.
        Value::Number(digits, exponent)
            if digits.checked_add(1).is_some_and(|next| next % 10 != 0) =>
        {
            Value::Number(*digits + 1, *exponent)
        }
        _ => draw(random, 1),
    };
}

/// Equality without regard to the order of members.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| equal(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, a)| {
                    other.iter().any(|(other_name, b)| name == other_name && equal(a, b))
                })
        }
        (one, other) => one == other,
    }
}

/// C11: however a value is written, its form is one; another value's form is another.
#[test]
fn c11_a_form_stands_for_a_value_and_no_other() {
    let mut random = crate::seed::rng();
    for _ in 0..20_000 {
        let value = draw(&mut random, 3);
        let form = |value: &Value, random: &mut fastrand::Rng| {
            let mut text = String::new();
            spell(value, random, &mut text);
            of(&text).unwrap_or_else(|| panic!("no form: {text}"))
        };
        let first = form(&value, &mut random);
        assert_eq!(form(&value, &mut random), first, "{value:?}");
        assert_eq!(of(&first).as_ref(), Some(&first), "{value:?}");
        let other = change(&value, &mut random);
        assert_ne!(form(&other, &mut random), first, "{value:?} and {other:?}");
        let read: serde_json::Value = serde_json::from_str(&first).unwrap();
        assert!(serde_json::to_string(&read).is_ok(), "another parser reads it");
    }
}

/// C11: a double that is written with its shortest digits is written as ECMAScript writes it, and
/// reads back as itself.
#[test]
fn c11_doubles_read_back_as_themselves() {
    let mut random = crate::seed::rng();
    for _ in 0..50_000 {
        let double = f64::from_bits(random.u64(..));
        if !double.is_finite() {
            continue;
        }
        let form = of(&format!("{double:e}")).unwrap();
        assert_eq!(form.parse::<f64>().unwrap().to_bits(), double.to_bits(), "{form}");
    }
}
