# Completes the flags of containerpilot, then the application like any command.
_containerpilot() {
    # Bash splits words at colons; these are split at spaces only.
    local line=${COMP_LINE:0:COMP_POINT} words=() current='' index
    read -ra words <<<"$line"
    [[ $line == *' ' ]] && words+=('')
    current=${words[-1]}
    COMPREPLY=()
    for ((index = 1; index < ${#words[@]} - 1; index++)); do
        case ${words[index]} in
        -config | --config | -out | --out | -format | --format | -interfaces | --interfaces | -maintenance | --maintenance | \
            -socket | --socket) ((index++)) ;;
        -*) ;;
        *) # The application; what follows are its arguments.
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
        esac
    done
    case ${words[-2]}:$current in
    -format:* | --format:*) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$current") ;;
    -interfaces:* | --interfaces:*) mapfile -t COMPREPLY < <(compgen -W 'required optional' -- "$current") ;;
    -maintenance:* | --maintenance:*) mapfile -t COMPREPLY < <(compgen -W 'enable disable' -- "$current") ;;
    -socket:* | --socket:*) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    -config:file://* | --config:file://* | -out:file://* | --out:file://*)
        mapfile -t COMPREPLY < <(compgen -f -- "${current#file://}" | sed 's,^,//,')
        ;;
    -config:* | --config:* | -out:* | --out:*)
        compopt -o nospace 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -W 'file://' -- "$current")
        ;;
    *:-*)
        local flags='-check -config -explain -format -healthy -help -interfaces -maintenance -out -ping -reload -render -socket -status'
        flags+=' -template -version'
        mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current")
        ;;
    *) mapfile -t COMPREPLY < <(compgen -c -- "$current") ;;
    esac
}
complete -F _containerpilot containerpilot
