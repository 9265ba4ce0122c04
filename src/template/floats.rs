//! Formats floating-point numbers as Go does.
//!
//! Go prints `1e+06` where Rust prints `1000000`: the general form uses an exponent as soon as the exponent
//! reaches the precision, or six if only the shortest digits are requested. The digits come from Rust's
//! formatting, which is exact.

/// The form of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `1.5`
    Fixed,
    /// `1.5e+00`
    Exponent,
    /// One of the two, depending on the size of the number.
    General,
}

/// The number, always with a sign; without a precision, with as many digits as identify it.
pub(crate) fn signed(number: f64, layout: Layout, precision: Option<usize>) -> String {
    if number.is_nan() {
        return "+NaN".to_owned();
    }
    let sign = if number.is_sign_negative() { '-' } else { '+' };
    let magnitude = number.abs();
    if magnitude.is_infinite() {
        return format!("{sign}Inf");
    }
    let digits = match layout {
        Layout::Fixed => fixed(magnitude, precision),
        Layout::Exponent => with_exponent(magnitude, precision),
        Layout::General => general(magnitude, precision),
    };
    format!("{sign}{digits}")
}

fn fixed(magnitude: f64, precision: Option<usize>) -> String {
    match precision {
        Some(precision) => {
            let (exact, zeros) = exact_digits(precision);
            format!("{magnitude:.exact$}{zeros}")
        }
        None => format!("{magnitude}"),
    }
}

fn with_exponent(magnitude: f64, precision: Option<usize>) -> String {
    let (exact, zeros) = precision.map_or((0, String::new()), exact_digits);
    let written = match precision {
        Some(_) => format!("{magnitude:.exact$e}"),
        None => format!("{magnitude:e}"),
    };
    let (mantissa, exponent) = split(&written);
    join(&format!("{mantissa}{zeros}"), exponent)
}

/// How many digits Rust formats, whose limit is lower, and the zeros that follow.
fn exact_digits(precision: usize) -> (usize, String) {
    let exact = precision.min(ALL_DIGITS);
    (exact, "0".repeat(precision - exact))
}

/// No floating-point number has more digits before only zeros follow.
const ALL_DIGITS: usize = 1100;

fn general(magnitude: f64, precision: Option<usize>) -> String {
    let precision = precision.map(|precision| precision.clamp(1, ALL_DIGITS));
    let written = match precision {
        Some(precision) => format!("{magnitude:.*e}", precision - 1),
        None => format!("{magnitude:e}"),
    };
    let (mantissa, exponent) = split(&written);
    let mantissa = without_trailing_zeros(mantissa);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let threshold = threshold(precision, digits, exponent);
    if exponent < -4 || exponent >= threshold {
        return join(mantissa, exponent);
    }
    place_point(mantissa, exponent)
}

/// The exponent from which on the general form uses the exponent form.
fn threshold(precision: Option<usize>, digits: usize, exponent: i32) -> i32 {
    let as_exponent = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    match precision {
        None => 6,
        Some(wanted) if wanted > digits && as_exponent(digits) > exponent => as_exponent(digits),
        Some(wanted) => as_exponent(wanted),
    }
}

fn split(written: &str) -> (&str, i32) {
    let (mantissa, exponent) = written.split_once('e').unwrap_or((written, "0"));
    (mantissa, exponent.parse().unwrap_or_default())
}

fn join(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

fn without_trailing_zeros(mantissa: &str) -> &str {
    match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').trim_end_matches('.'),
        false => mantissa,
    }
}

/// `1.25` and 1 give `12.5`, `1.25` and -2 give `0.0125`.
fn place_point(mantissa: &str, exponent: i32) -> String {
    let digits = mantissa.replace('.', "");
    let Ok(whole) = usize::try_from(exponent + 1) else {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or_default());
        return format!("0.{zeros}{digits}");
    };
    match whole {
        0 => format!("0.{digits}"),
        _ if whole >= digits.len() => digits.clone() + &"0".repeat(whole - digits.len()),
        _ => format!("{}.{}", &digits[..whole], &digits[whole..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(layout: Layout, precision: Option<usize>, expected: &[(f64, &str)]) {
        for (number, text) in expected {
            assert_eq!(signed(*number, layout, precision), *text, "{number}");
        }
    }

    #[test]
    fn the_general_layout_turns_to_exponents_at_a_million_and_below_a_ten_thousandth() {
        let expected = [
            (0.0, "+0"),
            (1.0, "+1"),
            (10.0, "+10"),
            (10.1, "+10.1"),
            (1500.0, "+1500"),
            (123_456.0, "+123456"),
            (1e6, "+1e+06"),
            (1_234_567.0, "+1.234567e+06"),
            (1e20, "+1e+20"),
            (1e21, "+1e+21"),
            (1e-4, "+0.0001"),
            (1e-5, "+1e-05"),
            (1e-7, "+1e-07"),
            (-0.25, "-0.25"),
            (1e100, "+1e+100"),
        ];
        check(Layout::General, None, &expected);
    }

    #[test]
    fn the_general_layout_keeps_to_the_precision() {
        check(
            Layout::General,
            Some(3),
            &[(1234.0, "+1.23e+03"), (0.5, "+0.5"), (100.0, "+100")],
        );
        check(
            Layout::General,
            Some(10),
            &[(100_000.0, "+100000"), (123.45, "+123.45")],
        );
        check(Layout::General, Some(0), &[(1.5, "+2")]);
    }

    #[test]
    fn the_fixed_layout_has_as_many_places_as_asked_for() {
        check(Layout::Fixed, Some(2), &[(1.5, "+1.50"), (-2.675, "-2.67")]);
        check(Layout::Fixed, Some(0), &[(2.5, "+2"), (3.5, "+4")]);
    }

    #[test]
    fn any_number_of_digits_may_be_asked_for() {
        for layout in [Layout::Fixed, Layout::Exponent] {
            let written = signed(1.5, layout, Some(100_000));
            assert!(written.starts_with("+1.5000") && written.len() > 100_000);
        }
        check(Layout::General, Some(100_000), &[(1.5, "+1.5")]);
    }

    #[test]
    fn exponents_have_two_digits() {
        check(
            Layout::Exponent,
            Some(6),
            &[(1.5, "+1.500000e+00"), (0.0, "+0.000000e+00")],
        );
        check(Layout::Exponent, None, &[(1e-300, "+1e-300")]);
    }

    #[test]
    fn infinities_and_nan_are_formatted_by_name() {
        check(
            Layout::General,
            None,
            &[(f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf")],
        );
        assert_eq!(signed(f64::NAN, Layout::Fixed, None), "+NaN");
    }
}
