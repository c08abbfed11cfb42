# bash completion for minimta(8), sendmail(8) and their kin. What there is to complete they say themselves.

_minimta_options() { # COMMAND...: the long options that its --help names
    "$@" --help 2>/dev/null </dev/null | grep -oE -e '--[a-z][a-z-]*' | sort -u
}

_minimta() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}
    local verbs acts
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        verbs=$(minimta --help 2>/dev/null </dev/null | sed -nE 's/^  ([a-z]+) .*/\1/p')
        mapfile -t COMPREPLY < <(compgen -W "$verbs --help --version" -- "$current")
        return
    fi
    case $previous in
        -C | --file | --root | --secret-file | --prometheus)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
    esac
    if [[ $current == -* ]]; then
        acts=$(_minimta_options minimta "$verb")
        if ((COMP_CWORD > 2)) && [[ ${COMP_WORDS[2]} == [a-z]* ]]; then
            acts+=" $(_minimta_options minimta "$verb" "${COMP_WORDS[2]}")"
        fi
        mapfile -t COMPREPLY < <(compgen -W "$acts" -- "$current")
    elif ((COMP_CWORD == 2)); then
        # What a verb can do: argparse lists it in braces, or one a line behind four blanks.
        acts=$(minimta "$verb" --help 2>/dev/null </dev/null |
            sed -nE -e 's/^    ([a-z][a-z-]*)  .*/\1/p' -e 's/.*\{([a-z,-]+)\}.*/\1/p' | tr ',' ' ')
        [[ $verb == check || $verb == trace || -z $acts ]] && acts+=" $(compgen -u)"
        mapfile -t COMPREPLY < <(compgen -W "$acts" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -u -- "$current")
    fi
}

_sendmail() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local flags='-Ac -Am -B7BIT -B8BITMIME -bC -bD -bd -bh -bH -bi -bm -bP -bp -bs -bt -bv -C -d0.1 -F -f -G -h -i
        -L -N -n -O -odb -odd -odi -odq -oem -oep -oeq -oew -q -qf -qG -qI -qp -qQ -qR -qS -Q -R -t -U -V -v -X'
    case $previous in
        -C | -X | -D) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        -N) mapfile -t COMPREPLY < <(compgen -W 'never success failure delay' -- "$current") && return ;;
        -R) mapfile -t COMPREPLY < <(compgen -W 'full hdrs' -- "$current") && return ;;
        -O) mapfile -t COMPREPLY < <(compgen -S = -W "$(_minimta_option_names)" -- "$current") && compopt -o nospace && return ;;
    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -u -- "$current")
    fi
}

_minimta_option_names() {
    # The configuration that is there is the best list at hand: names at the beginning of a line.
    sed -nE 's/^#?[[:blank:]]*([A-Z][A-Za-z.]+)[[:blank:]]*=.*/\1/p' /etc/mail/minimta.cf 2>/dev/null | sort -u
    printf '%s\n' AliasFile DaemonPortOptions DeliveryMode LogLevel LogTo QueueDirectory SmartHost Timeout.queuereturn
}

_mailq() {
    local flags='-v -Ac -qI -qQ -qR -qS'
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "${COMP_WORDS[COMP_CWORD]}")
}

complete -F _minimta minimta
complete -F _sendmail sendmail
complete -F _mailq mailq
