# Completes the flags of containerpilot, then the application like any command.

# The application and its arguments before the cursor.
function __containerpilot_application
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case -config -format -interfaces -maintenance -socket -out
                set -q words[2]; or return
                set -e words[1..2]
            case '-*'
                set -e words[1]
            case '*'
                break
        end
    end
    printf '%s\n' $words
end

# Whether the cursor is at a flag or at its value.
function __containerpilot_at_flag
    test -z "$(__containerpilot_application)"
end

# What the application completes; its name is a command.
function __containerpilot_complete_application
    set -l words (__containerpilot_application)
    complete -C (string join ' ' -- (string escape -- $words) (commandline -ct))
end

# Files as URLs.
function __containerpilot_urls
    set -l path (string replace -r '^file://' '' -- (commandline -ct))
    printf 'file://%s\n' (complete -C "'' $path")
end

complete -c containerpilot -n 'not __containerpilot_at_flag' -f -a '(__containerpilot_complete_application)'
complete -c containerpilot -n __containerpilot_at_flag -f -a '(__fish_complete_command)'
complete -c containerpilot -n __containerpilot_at_flag -o config -x -a '(__containerpilot_urls)' -d 'the configuration, file:// and a path or JSON'
complete -c containerpilot -n __containerpilot_at_flag -o check -d 'check the configuration and end'
complete -c containerpilot -n __containerpilot_at_flag -o explain -d 'with -check, describe what the configuration does'
complete -c containerpilot -n __containerpilot_at_flag -o format -x -a 'text json' -d 'with -check or -status, the form of the answer'
complete -c containerpilot -n __containerpilot_at_flag -o interfaces -x -a 'required optional' -d 'with -check, whether addresses have to exist here'
complete -c containerpilot -n __containerpilot_at_flag -o healthy -d 'ask the running shim whether all is well'
complete -c containerpilot -n __containerpilot_at_flag -o maintenance -x -a 'enable disable' -d 'begin or end maintenance of the running shim'
complete -c containerpilot -n __containerpilot_at_flag -o ping -d 'ask the running shim for an answer'
complete -c containerpilot -n __containerpilot_at_flag -o reload -d 'make the running shim read its configuration again'
complete -c containerpilot -n __containerpilot_at_flag -o socket -r -F -d 'the control socket of the running shim'
complete -c containerpilot -n __containerpilot_at_flag -o status -d 'print the state of the running shim'
complete -c containerpilot -n __containerpilot_at_flag -o render -d 'write the files of all templates once and end'
complete -c containerpilot -n __containerpilot_at_flag -o template -d 'write the rendered configuration and end'
complete -c containerpilot -n __containerpilot_at_flag -o out -x -a '(__containerpilot_urls)' -d 'where -template writes'
complete -c containerpilot -n __containerpilot_at_flag -o version -d 'print the version and end'
complete -c containerpilot -n __containerpilot_at_flag -o help -d 'print the flags and end'
