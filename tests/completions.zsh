# Prints what zsh offers after a line: zsh -f completions.zsh FOLDER LINE. FOLDER has the function of the completion.
#
# A second zsh with a terminal of its own completes the line as a user would, and prints what it adds to the list.
zmodload zsh/zpty
setopt extended_glob
zpty inner zsh -f -i
zpty -w inner "PROMPT=; unset zle_bracketed_paste; fpath=(${(q)1} \$fpath)"
zpty -w inner 'autoload -Uz compinit; compinit -u -D
compadd() {
    if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
        typeset -a hits prefix
        builtin compadd -A hits "$@"
        zparseopts -E P:=prefix
        for hit in $hits; do print -r -- "<<${prefix[2]}$IPREFIX$hit>>"; done
    fi
    builtin compadd "$@"
}
end-of-list() { print -r -- "END-OF""-LIST" }
zle -N end-of-list
bindkey "^I" complete-word
bindkey "^T" end-of-list
print "READY""-NOW"'
zpty -r inner out '*READY-NOW*'
zpty -w -n inner "$2"$'\t\x14'
zpty -r inner out '*END-OF-LIST*'
for line in ${(f)out}; do
    [[ $line == (#b)*'<<'(*)'>>'* ]] && print -r -- $match[1]
done
exit 0
