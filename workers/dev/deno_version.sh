# Ends with 78 and one sentence where Deno is older than the permission sets of deno.json need: it would say that it
# cannot read them. `deno task` tells its version in the variable that npm has for that.
case $npm_config_user_agent in
  deno/[01].* | deno/2.[0-8].*)
    version=${npm_config_user_agent%% *}
    echo "OrderFlow needs Deno 2.9 or later, and this is ${version#deno/}: run npm install -g deno@2.9.6, or put npx -y deno@2.9.6 in the place of deno." >&2
    exit 78
    ;;
esac
